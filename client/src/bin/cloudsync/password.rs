//! Asks for a password.
//!
//! Never: a password shown, or taken from the command line or the environment.

use std::io::BufRead as _;

use zeroize::Zeroizing;

use crate::failure::{Exit, Failure};

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
    if line.is_empty() { Err(Failure::usage("there is no password on standard input")) } else { Ok(line) }
}

pub(crate) fn from_terminal(repeat: Repeat) -> Result<Zeroizing<String>, Failure> {
    let password = ask("Password: ")?;
    if password.is_empty() {
        return Err(Failure::usage("the password is empty"));
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
