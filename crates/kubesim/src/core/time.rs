//! Wall time as the API writes it. The core has no clock: every call brings milliseconds since
//! 1970 with it, and these functions turn them into RFC 3339 and back.

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// `metav1.Time`: RFC 3339 in UTC, whole seconds.
pub fn seconds(at: Millis) -> String {
    let (year, month, day) = civil(at / 86_400_000);
    let second = at / 1000 % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// `metav1.MicroTime`: RFC 3339 in UTC with microseconds.
pub fn micros(at: Millis) -> String {
    let whole = seconds(at);
    format!("{}.{:06}Z", &whole[..whole.len() - 1], at % 1000 * 1000)
}

/// Reads RFC 3339, with a fraction and an offset if there are any.
pub fn parse(text: &str) -> Option<Millis> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    if bytes.len() < 20 || bytes[4] != b'-' || bytes[7] != b'-' || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &text[19..];
    let mut fraction = 0;
    if let Some(digits) = rest.strip_prefix('.') {
        let end = digits.find(|c: char| !c.is_ascii_digit())?;
        let mut padded = digits[..end].to_string();
        padded.push_str("000");
        fraction = padded[..3].parse::<i64>().ok()?;
        rest = &digits[end..];
    }
    let offset = match rest {
        "Z" | "z" => 0,
        _ if rest.len() == 6 => {
            let sign = if rest.starts_with('-') { -1 } else { 1 };
            sign * (rest[1..3].parse::<i64>().ok()? * 60 + rest[4..6].parse::<i64>().ok()?)
        }
        _ => return None,
    };
    let total = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset * 60;
    u64::try_from(total * 1000 + fraction).ok()
}

/// How old something is, as kubectl's AGE column says it: two units where the first is small.
pub fn human(duration: Millis) -> String {
    let seconds = duration / 1000;
    let two = |value: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{value}{unit}"),
        rest => format!("{value}{unit}{rest}{small}"),
    };
    if seconds < 120 {
        return format!("{seconds}s");
    }
    let minutes = seconds / 60;
    if minutes < 10 {
        return two(minutes, "m", seconds % 60, "s");
    }
    if minutes < 180 {
        return format!("{minutes}m");
    }
    let hours = minutes / 60;
    match hours {
        0..8 => two(hours, "h", minutes % 60, "m"),
        8..48 => format!("{hours}h"),
        48..192 => two(hours / 24, "d", hours % 24, "h"),
        192..17_520 => format!("{}d", hours / 24),
        17_520..70_080 => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}

// Days since 1970 of a date and back, over 400-year eras that begin in March, so that the leap
// day comes last (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for at in [0, 951_782_400_000, 1_582_934_400_000, 1_795_368_171_000, 4_102_444_799_000] {
            assert_eq!(parse(&seconds(at)), Some(at), "{}", seconds(at));
        }
        assert_eq!(seconds(951_827_696_000), "2000-02-29T12:34:56Z");
        assert_eq!(micros(1_795_368_171_042), "2026-11-22T17:22:51.042000Z");
        assert_eq!(parse("2026-11-22T18:22:51.042+01:00"), Some(1_795_368_171_042));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(parse("2026-13-22T18:22:51Z"), None);
    }

    #[test]
    fn ages_read_like_kubectls() {
        let second = 1000;
        for (age, text) in [
            (3 * second, "3s"),
            (119 * second, "119s"),
            (123 * second, "2m3s"),
            (180 * second, "3m"),
            (11 * 60 * second, "11m"),
            (3 * 3600 * second, "3h"),
            (3 * 3600 * second + 120 * second, "3h2m"),
            (9 * 3600 * second, "9h"),
            (50 * 3600 * second, "2d2h"),
            (10 * 86_400 * second, "10d"),
            (800 * 86_400 * second, "2y70d"),
        ] {
            assert_eq!(human(age), text);
        }
    }
}
