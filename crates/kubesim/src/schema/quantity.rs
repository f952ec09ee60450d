//! Kubernetes quantities (`100m`, `1.5Gi`, `2e3`) and their canonical form.

use std::fmt;

/// How a quantity was written, which its canonical form keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    /// `k`, `M`, `m`, …
    Decimal,
    /// `Ki`, `Mi`, …
    Binary,
    /// `e3`.
    Exponent,
}

/// A number with a unit, exact to a billionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// In billionths.
    nanos: i128,
    notation: Notation,
}

const NANO: i128 = 1_000_000_000;

const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 1), ("Mi", 2), ("Gi", 3), ("Ti", 4), ("Pi", 5), ("Ei", 6)];

impl Quantity {
    /// Reads a quantity; `None` when the text is none.
    ///
    /// What is finer than a billionth is rounded away from zero.
    ///
    /// ```
    /// use hansa_kubesim::schema::Quantity;
    /// assert_eq!(Quantity::parse("0.5").unwrap().to_string(), "500m");
    /// assert_eq!(Quantity::parse("1024Mi").unwrap().to_string(), "1Gi");
    /// ```
    pub fn parse(text: &str) -> Option<Quantity> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let digits_end =
            rest.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(digits_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let digits: i128 = format!("0{whole}{fraction}").parse().ok()?;
        let below = i32::try_from(fraction.len()).ok()?;
        let (nanos, notation) = if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
            let scaled = digits.checked_mul(1024i128.checked_pow(*power)?)?;
            (scale(scaled, 9 - below)?, Notation::Binary)
        } else if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
            (scale(digits, power + 9 - below)?, Notation::Decimal)
        } else {
            let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (scale(digits, power.checked_add(9)? - below)?, Notation::Exponent)
        };
        Some(Quantity { nanos: if negative { -nanos } else { nanos }, notation })
    }

    /// The value in thousandths, rounded away from zero: what CPU is counted in.
    pub fn milli(self) -> i128 {
        divide_up(self.nanos, NANO / 1000)
    }

    /// The whole value, rounded away from zero: what memory is counted in.
    pub fn whole(self) -> i128 {
        divide_up(self.nanos, NANO)
    }
}

/// `digits × 10^power`, rounded away from zero.
fn scale(digits: i128, power: i32) -> Option<i128> {
    if power >= 0 {
        digits.checked_mul(10i128.checked_pow(power.unsigned_abs())?)
    } else {
        Some(match 10i128.checked_pow(power.unsigned_abs()) {
            Some(divisor) => divide_up(digits, divisor),
            None => i128::from(digits != 0),
        })
    }
}

fn divide_up(value: i128, divisor: i128) -> i128 {
    value / divisor + (value % divisor).signum()
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return formatter.write_str("0");
        }
        // Below 1024 a binary unit would need a fraction.
        if self.notation == Notation::Binary && self.nanos.abs() >= 1024 * NANO {
            let mut value = self.whole();
            let mut power = 0;
            while value % 1024 == 0 && power < BINARY.len() {
                value /= 1024;
                power += 1;
            }
            let suffix = power.checked_sub(1).map_or("", |index| BINARY[index].0);
            return write!(formatter, "{value}{suffix}");
        }
        let (mut value, mut power) = (self.nanos, -9);
        while value % 1000 == 0 && power < 18 {
            value /= 1000;
            power += 3;
        }
        match DECIMAL.iter().find(|(_, one)| *one == power) {
            Some((suffix, _)) if self.notation != Notation::Exponent => write!(formatter, "{value}{suffix}"),
            _ if power == 0 => write!(formatter, "{value}"),
            _ => write!(formatter, "{value}e{power}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    #[test]
    fn canonical_form_is_that_of_the_real_server() {
        for (text, canonical) in [
            ("0", "0"),
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("100m", "100m"),
            ("2000", "2k"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("12e6", "12e6"),
            ("0.0000000001", "1n"),
            ("-1.5", "-1500m"),
            ("+3", "3"),
            (".5", "500m"),
            ("1E", "1E"),
        ] {
            assert_eq!(Quantity::parse(text).map(|found| found.to_string()).as_deref(), Some(canonical), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "Mi", "1.2.3", "1 Gi", "one", "1KI", "--1", "1e"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }
}
