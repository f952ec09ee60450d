//! What commands print: a table for people, JSON and YAML for programs, on a terminal in colours.

use crate::yaml;
use clap::ValueEnum;
use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Width, presets};
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// How an answer is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON value.
    Json,
    /// YAML.
    Yaml,
}

/// `-o`, for commands that tell people something.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Output {
    /// How the answer is printed.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// `-o`, for commands that make manifests.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct ManifestOutput {
    /// How the manifests are printed; a table is for people.
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Yaml)]
    pub format: Format,
}

/// Says how wide tables may be where there is no terminal to ask: a program that shows them on its own.
pub const COLUMNS: &str = "HANSA_COLUMNS";

/// What the place can show that is printed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Screen {
    /// Whether it shows colours.
    pub colours: bool,
    /// How many columns it has; `None`: as many as are needed.
    pub width: Option<u16>,
}

impl Screen {
    /// A file or a pipe.
    #[cfg(test)]
    pub const PLAIN: Screen = Screen { colours: false, width: None };

    /// Standard output.
    pub fn stdout() -> Self {
        let told = || std::env::var(COLUMNS).ok()?.parse().ok();
        match std::io::stdout().is_terminal() {
            true => Screen::of(true, comfy_table::Table::new().width()),
            false => Screen { width: told(), ..Screen::of(false, None) },
        }
    }

    /// Standard error.
    pub fn stderr() -> Self {
        Screen::of(std::io::stderr().is_terminal(), None)
    }

    /// Colours only on a terminal, and not when the user asks for none (<https://no-color.org>).
    fn of(terminal: bool, width: Option<u16>) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Screen { colours: terminal && wanted, width }
    }

    /// A text in a tone.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => 32,
            Tone::Warning => 33,
            Tone::Bad => 31,
            Tone::Faint => 2,
            Tone::Strong => 1,
        };
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// How far columns stand apart, and how far where there is little room.
const GAP: u16 = 3;
const NARROW: u16 = 2;

/// How something is to be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// It needs a look.
    Warning,
    /// It is wrong.
    Bad,
    /// It does not matter much.
    Faint,
    /// It is what matters.
    Strong,
}

/// A table: names of columns, and rows of texts with their tones.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// A table with these columns.
    pub fn new<'a>(columns: impl IntoIterator<Item = &'a str>) -> Self {
        Table { columns: columns.into_iter().map(str::to_owned).collect(), rows: Vec::new() }
    }

    /// Adds a row of plain texts.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.toned(cells.into_iter().map(|cell| (cell.into(), Tone::Plain)));
    }

    /// Adds a row of texts with their tones.
    pub fn toned(&mut self, cells: impl IntoIterator<Item = (String, Tone)>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many columns of text it needs to have every row in one line.
    pub fn width(&self) -> usize {
        let whole = |index| self.longest(index, |text| Box::new(std::iter::once(text)));
        let widths = (0..self.columns.len()).filter(|index| self.is_used(*index)).map(whole);
        widths.map(|width| width + usize::from(GAP)).sum::<usize>().saturating_sub(GAP.into())
    }

    fn is_used(&self, index: usize) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| row.get(index).is_some_and(|cell| !cell.0.is_empty()))
    }

    /// The longest part in a column, its heading included.
    fn longest<'a>(&'a self, index: usize, parts: impl Fn(&'a str) -> Box<dyn Iterator<Item = &'a str> + 'a>) -> usize {
        let cells = self.rows.iter().filter_map(|row| Some(row.get(index)?.0.as_str()));
        let texts = cells.chain([self.columns[index].as_str()]);
        texts.flat_map(parts).map(|part| part.chars().count()).max().unwrap_or(0)
    }

    /// The table as text; columns that are empty in every row are left out.
    pub fn render(&self, screen: &Screen) -> String {
        let used: Vec<usize> = (0..self.columns.len()).filter(|index| self.is_used(*index)).collect();
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        if screen.colours {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        let gap = if screen.width.is_some_and(|width| self.width() > usize::from(width)) { NARROW } else { GAP };
        let words = |index: &usize| self.longest(*index, |text| Box::new(text.split_whitespace())) + usize::from(gap);
        let least = used.iter().map(words).sum::<usize>().saturating_sub(gap.into());
        match screen.width {
            Some(width) if least <= usize::from(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width)
            }
            // Rows that run over the edge read better than columns of single words.
            _ => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        table.set_header(used.iter().map(|index| Cell::new(&self.columns[*index]).add_attribute(Attribute::Bold)));
        for row in &self.rows {
            table.add_row(used.iter().map(|index| match row.get(*index) {
                Some((text, tone)) => cell(text, *tone),
                None => Cell::new(""),
            }));
        }
        for (index, column) in used.iter().zip(table.column_iter_mut()) {
            // Nothing comes after the last one.
            let gap = if Some(index) == used.last() { 0 } else { gap };
            column.set_padding((0, gap));
            // Words stay whole, however little room there is: names are copied from here.
            let word = self.longest(*index, |text| Box::new(text.split_whitespace()));
            column.set_constraint(match word == self.longest(*index, |text| Box::new(std::iter::once(text))) {
                true => ColumnConstraint::ContentWidth,
                false => ColumnConstraint::LowerBoundary(Width::Fixed(word as u16 + gap)),
            });
        }
        table.trim_fmt() + "\n"
    }
}

fn cell(text: &str, tone: Tone) -> Cell {
    // Several spaces or a tab would break the columns for whoever cuts them apart.
    let cell = Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::Green),
        Tone::Warning => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
        Tone::Strong => cell.add_attribute(Attribute::Bold),
    }
}

/// Writes to standard output. A reader that has gone (`| head`) is an error of its own kind, which
/// ends the program quietly.
pub fn stdout(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a note for people to standard error.
pub fn note(tone: Tone, text: &str) {
    // There is nowhere to tell that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{}", Screen::stderr().paint(tone, text));
}

/// An answer in the wanted format; `table` makes the one for people.
pub fn answer(format: Format, value: &Value, table: impl FnOnce(&Screen) -> String) -> anyhow::Result<()> {
    match format {
        Format::Table => stdout(&table(&Screen::stdout())),
        Format::Json => stdout(&json(value)),
        Format::Yaml => stdout(&yaml::to_string(value)),
    }
}

/// What was done, in the wanted format; `words` says it to people.
pub fn done(output: Output, value: &Value, words: &str) -> anyhow::Result<()> {
    answer(output.format, value, |_| format!("{words}\n"))
}

/// JSON for people and programs, with a line end.
pub fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Manifests in the wanted format: YAML documents, a `List` in JSON, or a table of what they are.
pub fn manifests(format: Format, objects: &[Value]) -> anyhow::Result<()> {
    match format {
        Format::Yaml => stdout(&yaml::documents(objects)),
        Format::Json => stdout(&json(&serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}))),
        Format::Table => {
            let mut table = Table::new(["NAMESPACE", "KIND", "NAME", "API VERSION"]);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            for object in objects {
                let metadata = &object["metadata"];
                table.row([
                    text(&metadata["namespace"]),
                    text(&object["kind"]),
                    text(&metadata["name"]),
                    text(&object["apiVersion"]),
                ]);
            }
            stdout(&table.render(&Screen::stdout()))
        }
    }
}

/// A text in lines of at most so many columns, broken at spaces; further lines stand in a little more
/// than the first. A word that is longer stays whole, so that it can be copied.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let indent = text.len() - text.trim_start_matches(' ').len();
    let width = |line: &str| line.chars().count();
    let mut lines = vec![" ".repeat(indent)];
    let mut is_start = true;
    // Several spaces in a row are a column of somebody's, and stay.
    for word in text[indent..].split(' ') {
        let last = lines.last_mut().expect("there is a first line");
        if !is_start && width(last) + 1 + width(word) > columns {
            lines.push(format!("{}{word}", " ".repeat(indent + 2)));
        } else {
            if !is_start {
                last.push(' ');
            }
            last.push_str(word);
        }
        is_start = false;
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

/// A name and what there is to say of it, in lines that fit the screen.
pub fn entry(screen: &Screen, name: &str, width: usize, tone: Tone, value: &str) -> String {
    let columns = screen.width.map_or(usize::MAX, |columns| usize::from(columns).saturating_sub(width).max(20));
    let lines = wrap(value, columns);
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        let name = if index == 0 { name } else { "" };
        out.push_str(&format!("{name:<width$}{}\n", screen.paint(tone, line.trim_start())));
    }
    out
}

/// `1 object`, `2 objects`.
pub fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn table() -> Table {
        let mut table = Table::new(["NAME", "NOTHING", "STATE", "MESSAGE"]);
        table.toned([
            ("web".into(), Tone::Plain),
            (String::new(), Tone::Plain),
            ("Applied".into(), Tone::Good),
            (String::new(), Tone::Plain),
        ]);
        let message = "spec.replicas: -1 is less than 0, and no Deployment has fewer replicas than none";
        table.row(["api", "", "Refused", message]);
        table
    }

    #[test]
    fn a_pipe_gets_whole_lines_and_no_colours() {
        expect![[r#"
            NAME   STATE     MESSAGE
            web    Applied
            api    Refused   spec.replicas: -1 is less than 0, and no Deployment has fewer replicas than none
        "#]]
        .assert_eq(&table().render(&Screen::PLAIN));
    }

    #[test]
    fn a_terminal_gets_what_fits_it() {
        let text = table().render(&Screen { colours: false, width: Some(50) });
        assert!(text.lines().all(|line| line.chars().count() <= 50), "{text}");
        let coloured = table().render(&Screen { colours: true, width: Some(50) });
        assert!(coloured.contains("\u{1b}["), "{coloured}");
    }

    #[test]
    fn lines_break_at_spaces_and_columns_stay() {
        assert_eq!(wrap("one two three", 80), ["one two three"]);
        assert_eq!(wrap("  a: one two three", 10), ["  a: one", "    two", "    three"]);
        assert_eq!(wrap("name   state", 20), ["name   state"]);
        assert_eq!(wrap("a-very-long-word and", 8), ["a-very-long-word", "  and"]);
        assert_eq!(wrap("", 8), [""]);
    }
}
