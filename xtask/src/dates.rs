//! Calendar dates by number, for sample data.
//!
//! Never: a clock or a time zone.

/// Days since 1970-01-01 of a date of the Gregorian calendar (Hinnant: chrono-compatible low-level date algorithms,
/// `days_from_civil`).
pub(crate) const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day as `2009-04-09` (`civil_from_days`, as above).
pub(crate) fn text(days: i64) -> String {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// 0 for Monday.
pub(crate) const fn weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        for (date, number) in [("1970-01-01", 0), ("2000-02-29", 11_016), ("2009-04-09", 14_343), ("2019-02-07", 17_934)] {
            assert_eq!(text(number), date);
        }
        assert_eq!((days(1970, 1, 1), days(2000, 2, 29), days(2009, 4, 9), days(2019, 2, 7)), (0, 11_016, 14_343, 17_934));
    }

    #[test]
    fn the_first_of_the_epoch_was_a_thursday() {
        assert_eq!((weekday(0), weekday(4), weekday(-4)), (3, 0, 6));
    }
}
