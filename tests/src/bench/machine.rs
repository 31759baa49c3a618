//! What a figure was measured on.
//!
//! Never: a host's name or a user's path.

use std::fmt;
use std::path::Path;
use std::process::Command;

/// The machine, as far as it can be told.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor's model.
    pub cpu: String,
    /// System and release.
    pub kernel: String,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// Device and file system of the data folder.
    pub disk: String,
    /// Load of the last minute when the run began: others' work on the same cores shows in every figure.
    pub load: String,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, cpu, kernel, memory_mib, disk, load } = self;
        write!(f, "{cores} cores, {cpu}, {memory_mib} MiB, {kernel}, data on {disk}; load at the start {load}")
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Machine {
    /// This one, with the disk under `folder`.
    #[must_use]
    pub fn here(folder: &Path) -> Self {
        let unknown = || "unknown".to_owned();
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
        let disk = folder.to_str().and_then(|folder| output("df", &["--output=source,fstype", folder]));
        let disk = disk.and_then(|text| text.lines().nth(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(", ")));
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            kernel: output("uname", &["-sr"]).unwrap_or_else(unknown),
            memory_mib: memory.map_or(0, |kib| kib / 1024),
            disk: disk.unwrap_or_else(unknown),
            load: read("/proc/loadavg").split_whitespace().next().map_or_else(unknown, str::to_owned),
        }
    }

    /// Today, by UTC.
    #[must_use]
    pub fn today() -> String {
        output("date", &["-u", "+%Y-%m-%d"]).unwrap_or_else(|| "unknown".to_owned())
    }
}
