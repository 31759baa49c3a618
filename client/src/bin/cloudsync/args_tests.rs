//! The command line reads what its help says.

use clap::CommandFactory as _;

use super::*;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_of_every_command_has_an_example_that_is_right() {
    fn check(command: &clap::Command) {
        for command in command.get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help.lines().filter_map(|line| line.trim().strip_prefix("cloudsync ")).collect();
            assert!(!examples.is_empty(), "{} shows no example", command.get_name());
            for example in examples {
                let line = example.split(['>', '<', '#', '…']).next().unwrap_or_default();
                let words = line.replace(" '{", " {").replace("}'", "}").replace("'\"", "\"").replace("\"'", "\"");
                // No value of an example has a space that a shell would keep, but this one.
                let words = words.replace("\"a text has double quotes inside the single ones\"", "text");
                Cli::try_parse_from(std::iter::once("cloudsync").chain(words.split_whitespace()))
                    .unwrap_or_else(|error| panic!("{example}: {error}"));
            }
            check(command);
        }
    }
    check(&Cli::command());
}

#[test]
fn a_negative_number_and_a_dash_are_values() {
    for value in ["-5", "-"] {
        let cli = Cli::parse_from(["cloudsync", "put", "goal", "g1", value, "--json"]);
        assert!(matches!(cli.command, Command::Put(put) if put.value == value));
    }
}
