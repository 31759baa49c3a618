//! The Python programs of `tests/interop`, in a virtual environment of their own in the target folder.
//!
//! Never: a package without a version, or anything installed outside the target folder. Where Python or its packages can't
//! be had a person may go without, by name; CI may not.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, bail, ensure};

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop");
const REQUIREMENTS: &str = "requirements.txt";
/// Written when everything is installed: the requirements, as they were then.
const INSTALLED: &str = "installed.txt";
const SKIP_LOG: &str = "CLOUDSYNC_SKIP_LOG";

/// An interpreter that has what the programs need.
#[derive(Debug, Clone)]
pub struct Python {
    interpreter: PathBuf,
}

impl Python {
    /// The one in the target folder, made if it isn't there. `None`, and a line about it, where it can't be had.
    pub fn ready() -> anyhow::Result<Option<Self>> {
        match Self::install() {
            Ok(python) => Ok(Some(python)),
            Err(error) if std::env::var_os("CI").is_some() => Err(error.context("CI leaves nothing out")),
            Err(error) => {
                if let Some(log) = std::env::var_os(SKIP_LOG) {
                    writeln!(std::fs::File::options().append(true).create(true).open(log)?, "interop: no Python for it: {error:#}")?;
                }
                Ok(None)
            }
        }
    }

    fn install() -> anyhow::Result<Self> {
        let folder = target()?.join("tools").join("interop");
        std::fs::create_dir_all(&folder)?;
        // Tests run at the same time, in several programs.
        let lock = std::fs::File::create(folder.join("lock"))?;
        lock.lock().context("the lock of the virtual environment")?;
        let python = Self { interpreter: folder.join("bin").join("python") };
        let requirements = Path::new(PROGRAMS).join(REQUIREMENTS);
        let wanted = std::fs::read_to_string(&requirements)?;
        let installed = folder.join(INSTALLED);
        if std::fs::read_to_string(&installed).is_ok_and(|there| there == wanted) {
            return Ok(python);
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        run(Command::new(&python.interpreter).args(pip).arg(&requirements))?;
        std::fs::write(installed, wanted)?;
        Ok(python)
    }

    /// Runs a program with that text as its standard input; what it showed, one name each. One that fails says why.
    pub fn show(&self, program: &str, input: &str) -> anyhow::Result<Vec<String>> {
        let mut command = Command::new(&self.interpreter);
        command.args(["-B", "-m", program]).current_dir(PROGRAMS).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("python does not start")?;
        child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
        let Output { status, stdout, stderr } = child.wait_with_output()?;
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        ensure!(status.success(), "{program}: {status}\n{stdout}{stderr}");
        Ok(stdout.lines().filter_map(|line| line.strip_prefix("ok ")).map(ToOwned::to_owned).collect())
    }
}

/// The target folder that this program was built in.
fn target() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where am I?")?;
    // target/debug/deps/interop-…
    own.ancestors().nth(3).map(Path::to_owned).context("not in a target folder")
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let Output { status, stderr, .. } = command.output().with_context(|| format!("can't run {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{}: {status}: {}", command.get_program().display(), String::from_utf8_lossy(&stderr).trim());
    }
    Ok(())
}
