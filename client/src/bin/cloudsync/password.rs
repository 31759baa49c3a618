//! Asks for a password.
//!
//! Never: a password shown, or taken from the command line or the environment.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};
use crate::output::counted;

/// Of a new account's password.
const PASSWORD_CHARACTERS_MIN: usize = 8;

/// How often it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// A known one.
    Once,
    /// A new one.
    Twice,
}

/// The first line, without its end.
pub(crate) fn from_stdin() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().lock().read_line(&mut line).map_err(|error| Failure::usage(format!("can't read standard input: {error}")))?;
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    if line.is_empty() { Err(Failure::usage("there is a line too few on standard input, or an empty one")) } else { Ok(line) }
}

/// A recovery code; seen as it is typed, for it is copied from paper.
pub(crate) fn code_from_terminal() -> Result<Zeroizing<String>, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "a recovery code is asked for on a terminal, and standard input is none: use --password-stdin to pipe it in",
        ));
    }
    let mut talk = std::io::stderr();
    // Who can't see the question can't answer it.
    drop(write!(talk, "Recovery code: ").and_then(|()| talk.flush()));
    from_stdin()
}

/// What somebody who is asked a question types, seen; nothing at the end of the input.
pub(crate) fn answered(question: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("whether it is meant is asked on a terminal, and standard input is none: --yes says that it is"));
    }
    let mut talk = std::io::stderr();
    // Who can't see the question can't answer it.
    drop(write!(talk, "{question}").and_then(|()| talk.flush()));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| Failure::usage(format!("can't read standard input: {error}")))?;
    Ok(line.trim().to_owned())
}

/// A new password is long enough.
pub(crate) fn long_enough(password: &str) -> Result<(), Failure> {
    let characters = password.chars().count();
    if characters >= PASSWORD_CHARACTERS_MIN {
        return Ok(());
    }
    let message =
        format!("a password of {} is too short, it takes {PASSWORD_CHARACTERS_MIN} or more", counted(characters as u64, "character"));
    Err(Failure::new(Exit::Usage, "password_short", message, "nothing was done: choose a longer one, of several words for example"))
}

pub(crate) fn from_terminal(repeat: Repeat) -> Result<Zeroizing<String>, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "a password is asked for on a terminal, and standard input is none: use --password-stdin to pipe it in",
        ));
    }
    let prompt = match repeat {
        Repeat::Once => "Password: ".to_owned(),
        Repeat::Twice => format!("New password ({PASSWORD_CHARACTERS_MIN} characters or more): "),
    };
    let password = ask(&prompt)?;
    if password.is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    if repeat == Repeat::Twice {
        long_enough(&password)?;
    }
    if repeat == Repeat::Twice && ask("The same again: ")? != password {
        return Err(Failure::new(Exit::Usage, "password_differs", "the two passwords differ", "nothing was done: try again"));
    }
    Ok(password)
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let asked = rpassword::prompt_password(prompt).map(Zeroizing::new);
    asked.map_err(|error| Failure::usage(format!("no terminal to ask for a password on ({error}); use --password-stdin")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_has_eight_characters_or_more_whatever_their_bytes() {
        assert!(long_enough("12345678").is_ok() && long_enough("äöüäöüäö").is_ok());
        assert_eq!(long_enough("äöüäöüä").unwrap_err().code, "password_short");
    }
}
