//! Where a profile's folder is.
//!
//! Never: a look at the file system or the environment.

use std::path::PathBuf;

/// What the environment says about places.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places {
    /// `CLOUDSYNC_HOME`.
    pub cloudsync_home: Option<PathBuf>,
    /// `XDG_DATA_HOME`.
    pub data_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

/// Why a profile has no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// Not a name that a folder can have.
    #[error("{0:?} can't name a profile")]
    Name(String),
    /// Nothing says where profiles are kept.
    #[error("neither CLOUDSYNC_HOME nor XDG_DATA_HOME nor HOME is set")]
    NoHome,
}

/// A path when it holds a slash, else `profiles/NAME` in the data folder.
pub fn locate(name: &str, places: &Places) -> Result<PathBuf, LocateError> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    if name.is_empty() || name.starts_with('.') || name.contains('\0') {
        return Err(LocateError::Name(name.to_owned()));
    }
    let absolute = |path: &Option<PathBuf>| path.clone().filter(|path| path.is_absolute());
    let data = places
        .cloudsync_home
        .clone()
        .filter(|path| !path.as_os_str().is_empty())
        // The XDG base directory specification: a relative path is to be ignored.
        .or_else(|| absolute(&places.data_home).map(|path| path.join("cloudsync")))
        .or_else(|| absolute(&places.home).map(|path| path.join(".local/share/cloudsync")))
        .ok_or(LocateError::NoHome)?;
    Ok(data.join("profiles").join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(cloudsync_home: Option<&str>, data_home: Option<&str>, home: Option<&str>) -> Places {
        Places { cloudsync_home: cloudsync_home.map(Into::into), data_home: data_home.map(Into::into), home: home.map(Into::into) }
    }

    #[test]
    fn a_name_is_a_folder_under_the_first_home_that_is_set() {
        let all = places(Some("/c"), Some("/d"), Some("/h"));
        assert_eq!(locate("a", &all), Ok("/c/profiles/a".into()));
        assert_eq!(locate("a", &places(None, Some("/d"), Some("/h"))), Ok("/d/cloudsync/profiles/a".into()));
        assert_eq!(locate("a", &places(None, Some("relative"), Some("/h"))), Ok("/h/.local/share/cloudsync/profiles/a".into()));
        assert_eq!(locate("a", &places(None, None, None)), Err(LocateError::NoHome));
    }

    #[test]
    fn what_holds_a_slash_is_a_path_and_what_hides_is_no_name() {
        assert_eq!(locate("./b", &Places::default()), Ok("./b".into()));
        for name in ["", ".", "..", ".hidden"] {
            assert_eq!(locate(name, &places(Some("/c"), None, None)), Err(LocateError::Name(name.into())));
        }
    }
}
