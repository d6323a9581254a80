//! The HTTP header `Retry-After`.

use std::time::{SystemTime, UNIX_EPOCH};

/// The seconds that a value of `Retry-After` asks to wait, from `now` on: a number, or a date such as
/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7), of which a past one is 0. `None` for any other value.
pub fn retry_after(value: &str, now: SystemTime) -> Option<f64> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then_some(seconds);
    }
    let now = now.duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
    date(value).map(|date| (date as f64 - now).max(0.0))
}

/// Seconds since 1970 of a date in the one form that HTTP lets servers write.
fn date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let parts: Vec<&str> = rest.split(' ').collect();
    let &[day, month, year, time, "GMT"] = parts.as_slice() else { return None };
    let number = |text: &str, most: i64| {
        let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|number| all_digits && *number <= most)
    };
    let (day, year) = (number(day, 31)?, number(year, 9999)?);
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let times: Vec<&str> = time.split(':').collect();
    let &[hour, minute, second] = times.as_slice() else { return None };
    let (hour, minute, second) = (number(hour, 23)?, number(minute, 59)?, number(second, 60)?);
    // Days since 1970-01-01 of a date of the Gregorian calendar, whose years begin in March here (Hinnant, 2013).
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_seconds_since_1970() {
        // By `date -u -d ... +%s`.
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Sat, 28 Nov 2026 04:00:00 GMT", 1_795_838_400),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
        ] {
            assert_eq!(date(text), Some(seconds), "{text}");
        }
        for text in
            ["", "tomorrow", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49 GMT", "Sun, +6 Nov 1994 08:49:37 GMT"]
        {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn seconds_and_dates_are_waits() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        for (value, wait) in [
            ("120", Some(120.0)),
            (" 0.5 ", Some(0.5)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7.0)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0.0)),
            ("-3", None),
            ("inf", None),
            ("NaN", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), wait, "{value:?}");
        }
    }
}
