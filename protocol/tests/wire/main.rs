//! The wire, byte by byte: golden frames, truncation, bombs, lies, limits.
//!
//! Never: a golden file rewritten by a test that anybody runs by accident; `write_golden` is ignored.

#[cfg(test)]
mod damage;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod names;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod samples;
