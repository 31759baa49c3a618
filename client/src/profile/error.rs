//! Why a profile can't be used.
//!
//! Never: a secret in a message.

use std::path::PathBuf;

/// Why a profile can't be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody is signed in.
    #[error("nobody is signed in on the profile at {}", folder.display())]
    NotSignedIn {
        /// The profile's folder.
        folder: PathBuf,
    },
    /// A registration was begun, and its end is not known.
    #[error("the registration of {email} on the profile at {} did not end", folder.display())]
    Pending {
        /// The profile's folder.
        folder: PathBuf,
        /// Who registered.
        email: String,
    },
    /// Another process registers, logs in or logs out.
    #[error("process {} is registering, logging in or logging out on the profile at {}", pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string()), folder.display())]
    Locked {
        /// The profile's folder.
        folder: PathBuf,
        /// Which process, if it could be read.
        pid: Option<u32>,
    },
    /// The profile's place is taken by a file.
    #[error("there is no profile at {}: that is a file, not a folder", folder.display())]
    NotAFolder {
        /// Where the folder should be.
        folder: PathBuf,
    },
    /// A newer release wrote it.
    #[error("{} was written by a newer release: it has format {found}, this one knows {known}", file.display())]
    FormatUnknown {
        /// The file.
        file: PathBuf,
        /// As it says.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// A file is half-written, or of another profile.
    #[error("{} is damaged: {why}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file system refuses.
    #[error("can't {doing} {}: {why}", path.display())]
    Unusable {
        /// Read, write, make or remove.
        doing: &'static str,
        /// What.
        path: PathBuf,
        /// Why, as the system says.
        why: String,
    },
}
