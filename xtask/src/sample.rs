//! `cargo xtask sample`: a person's ten years with a pomodoro timer, made up, in the shape of the real file: bursts,
//! re-opened tasks, gaps, missing values, exact repeats, slips of the hand.
//!
//! Never: a line of the real file; shapes and frequencies only (measured on renzo-pomodoro.csv, 17,764 rows).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::dates;
use crate::random::Random;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to write
    #[arg(long, default_value = "sessions.csv")]
    out: PathBuf,
    /// Another seed, another person
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many sessions
    #[arg(long, default_value_t = 17_764)]
    rows: usize,
}

const HEADER: &str = "\"X.words\",\"word_cnt\",\"description\",\"DONE\",\"date\",\"estimate\",\"actual\"\n";
/// One row in so many repeats the one before it exactly.
const ROWS_PER_REPEAT: usize = 800;

/// Projects and what is done in them; a session has a project, a kind, both or neither.
const PROJECTS: &[&str] = &[
    "@garden", "@atlas", "@harbour", "@kite", "@lantern", "@mosaic", "@orchard", "@pulse", "@quarry", "@river", "@saddle", "@thesis",
    "@umbra", "@violet", "@website", "@yonder",
];
const KINDS: &[(&str, usize)] = &[
    ("@planning", 20),
    ("@meeting", 11),
    ("@book", 13),
    ("@personal", 7),
    ("@craft", 7),
    ("@ask", 6),
    ("@setup", 3),
    ("@unexp", 3),
    ("@talk", 3),
    ("@weekly", 3),
    ("@bug", 6),
    ("@review", 6),
    ("@metrics", 4),
    ("@reading", 4),
    ("@meta", 4),
];
/// Tags of a session: none, one, two, three, four.
const TAGS: &[(usize, usize)] = &[(0, 960), (1, 5510), (2, 9001), (3, 2234), (4, 59)];
/// Words of a description.
const WORDS: &[(usize, usize)] = &[
    (1, 1244),
    (2, 1683),
    (3, 1802),
    (4, 1851),
    (5, 1699),
    (6, 1689),
    (7, 1783),
    (8, 1414),
    (9, 1330),
    (10, 1023),
    (11, 736),
    (12, 535),
    (13, 346),
    (14, 229),
    (15, 158),
    (16, 96),
    (17, 64),
    (18, 37),
    (19, 17),
    (21, 10),
    (23, 4),
    (33, 2),
    (41, 1),
];
/// What a word counts for.
const COUNTS: &[(&str, usize)] = &[("1", 108_565), ("2", 2104), ("3", 146), ("4", 19), ("17", 1)];
const ESTIMATES: &[(&str, usize)] = &[
    ("1", 6457),
    ("2", 4495),
    ("4", 3388),
    ("NA", 1478),
    ("3", 711),
    ("6", 658),
    ("8", 288),
    ("5", 157),
    ("10", 31),
    ("0", 22),
    ("20", 21),
    ("12", 19),
    ("0.5", 12),
    ("7", 8),
    ("9", 6),
    ("16", 5),
    ("35", 1),
    ("120", 1),
    ("3266", 1),
];
const ACTUALS: &[(&str, usize)] = &[
    ("1", 4309),
    ("2", 2390),
    ("3", 1324),
    ("4", 879),
    ("0", 483),
    ("5", 466),
    ("6", 315),
    ("7", 182),
    ("8", 117),
    ("9", 84),
    ("10", 39),
    ("11", 32),
    ("12", 16),
    ("13", 9),
    ("14", 6),
    ("15", 3),
    ("17", 2),
    ("0.5", 2),
    ("11.3", 1),
];
/// Sessions of a day on which there are any.
const A_DAY: &[(usize, usize)] = &[
    (1, 27),
    (2, 43),
    (3, 91),
    (4, 140),
    (5, 173),
    (6, 272),
    (7, 272),
    (8, 247),
    (9, 212),
    (10, 179),
    (11, 135),
    (12, 111),
    (13, 64),
    (14, 56),
    (15, 40),
    (16, 30),
    (17, 23),
    (18, 10),
    (19, 10),
    (20, 6),
    (22, 7),
    (24, 2),
    (27, 1),
    (32, 1),
];
/// How often, in thousandths, a day from Monday to Sunday has any.
const DAYS: [usize; 7] = [789, 845, 819, 789, 700, 94, 166];

/// A thing to do, under the number that stands for its hidden description.
#[derive(Debug, Clone)]
struct Task {
    number: usize,
    tags: String,
    word_counts: String,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    std::fs::write(&options.out, sessions(options.seed, options.rows)).with_context(|| options.out.display().to_string())?;
    println!("{}: {} sessions (seed {})", options.out.display(), options.rows, options.seed);
    Ok(())
}

/// The whole file. The same seed and size, the same bytes.
fn sessions(seed: u64, rows: usize) -> String {
    let mut random = Random::new(seed);
    let mut text = String::with_capacity(rows * 56 + HEADER.len());
    text.push_str(HEADER);
    let mut tasks = vec![Task { number: 1, tags: "@planning".into(), word_counts: "1".into() }];
    let (mut written, mut repeats) = (0, 0);
    for (day, sessions) in days(&mut random, rows) {
        let today = today(&mut random, &mut tasks, sessions);
        let date = dates::text(day);
        let mut line = String::new();
        for task in today {
            written += 1;
            if !line.is_empty() && written >= (repeats + 1) * ROWS_PER_REPEAT {
                repeats += 1;
            } else {
                line = session(&mut random, &task, &date);
            }
            text.push_str(&line);
        }
    }
    text
}

/// Each day with how many sessions it has, `rows` in all.
fn days(random: &mut Random, rows: usize) -> Vec<(i64, usize)> {
    let (first, last) = (dates::days(2009, 4, 9), dates::days(2019, 2, 7));
    let chances = |day: i64| usize::try_from(dates::weekday(day)).ok().and_then(|weekday| DAYS.get(weekday)).copied().unwrap_or_default();
    let mut days: Vec<(i64, usize)> = Vec::new();
    for day in first..=last {
        if day == first || day == last || random.chance(chances(day)) {
            days.push((day, random.weighted(A_DAY)));
        }
    }
    // Shares of `rows` by what was drawn; each day's share ends where the rounded sum so far ends.
    let drawn: usize = days.iter().map(|(_, sessions)| sessions).sum();
    let (mut sum, mut given) = (0, 0);
    for (_, sessions) in &mut days {
        sum += *sessions;
        let until = (sum * rows + drawn / 2) / drawn.max(1);
        *sessions = until - given;
        given = until;
    }
    days
}

/// The day's tasks in the order of their numbers: some re-opened, mostly recent ones, the others new.
fn today(random: &mut Random, tasks: &mut Vec<Task>, sessions: usize) -> Vec<Task> {
    let mut today: BTreeSet<usize> = BTreeSet::new();
    while today.len() < sessions {
        let recent = tasks.len().min(60);
        let at = match random.below(1000) {
            0..90 if !today.contains(&0) => 0,
            0..370 => tasks.len() - 1 - random.below(recent),
            370..410 => random.below(tasks.len()),
            _ => {
                let number = tasks.len() + 1;
                tasks.push(task(random, number));
                tasks.len() - 1
            }
        };
        today.insert(at);
    }
    today.into_iter().filter_map(|at| tasks.get(at).cloned()).collect()
}

fn task(random: &mut Random, number: usize) -> Task {
    let mut tags: Vec<String> = Vec::new();
    for at in 0..random.weighted(TAGS) {
        let tag = match (at, random.chance(500)) {
            // Projects come and go: one has its years.
            (0, true) => PROJECTS.get((number / 700 + random.below(3)) % PROJECTS.len()).copied().unwrap_or_default().to_owned(),
            (2.., true) => format!("@t{}", random.below(1_400)),
            (_, true | false) => random.weighted(KINDS).to_owned(),
        };
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    // Here and there a description is empty.
    let words = if random.below(260) == 0 { 0 } else { random.weighted(WORDS) };
    let word_counts: Vec<&str> = (0..words).map(|_| random.weighted(COUNTS)).collect();
    Task { number, tags: tags.join(","), word_counts: word_counts.join(",") }
}

fn session(random: &mut Random, task: &Task, date: &str) -> String {
    let done = random.chance(464);
    let actual = if random.chance(if done { 50 } else { 700 }) { "NA" } else { random.weighted(ACTUALS) };
    let mut line = String::new();
    let Task { number, tags, word_counts } = task;
    let estimate = random.weighted(ESTIMATES);
    let _ = writeln!(line, "\"{tags}\",\"{word_counts}\",{number},{},{date},{estimate},{actual}", u8::from(done));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 17_764;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
        assert_eq!(sessions(1, 500), sessions(1, 500));
        assert_ne!(sessions(1, 500), sessions(2, 500));
    }

    #[test]
    fn there_are_as_many_rows_as_asked_for() {
        for rows in [0, 1, 7, 500, ROWS] {
            assert_eq!(sessions(3, rows).lines().count(), rows + 1, "{rows}");
        }
    }

    #[test]
    fn it_has_the_shape_of_the_real_file() {
        let text = sessions(1, ROWS);
        let rows: Vec<&str> = text.lines().skip(1).collect();
        let distinct: BTreeSet<&str> = rows.iter().copied().collect();
        assert_eq!(ROWS - distinct.len(), 22, "exact repeats");
        let column = |row: &str, from_end: usize| row.rsplit(',').nth(from_end).unwrap_or_default().to_owned();
        let dates: Vec<String> = rows.iter().map(|row| column(row, 2)).collect();
        assert!(dates.is_sorted());
        assert_eq!((dates.first().unwrap().as_str(), dates.last().unwrap().as_str()), ("2009-04-09", "2019-02-07"));
        let days = dates.iter().collect::<BTreeSet<_>>().len();
        assert!((2_050..2_260).contains(&days), "{days} days");
        let tasks = rows.iter().map(|row| column(row, 4)).collect::<BTreeSet<_>>().len();
        assert!((10_300..12_000).contains(&tasks), "{tasks} tasks");
        let without = rows.iter().filter(|row| row.ends_with(",NA")).count();
        assert!((6_600..7_600).contains(&without), "{without} without actual");
        assert!(rows.iter().all(|row| row.starts_with('"') && row.matches('"').count() == 4));
        assert!((800_000..1_050_000).contains(&text.len()), "{} bytes", text.len());
    }
}
