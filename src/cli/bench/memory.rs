//! How much memory a process has, as Linux tells it.

/// Memory of a process, in bytes.
pub(super) struct Memory {
    /// Now.
    pub(super) resident: u64,
    /// The most so far.
    pub(super) peak: u64,
}

impl Memory {
    /// That of a process. `None` where the system does not say (there is no `/proc`).
    pub(super) fn of(process: u32) -> Option<Self> {
        Self::read(&std::fs::read_to_string(format!("/proc/{process}/status")).ok()?)
    }

    /// Reads `/proc/PID/status`.
    fn read(status: &str) -> Option<Self> {
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
        };
        Some(Self { resident: of("VmRSS")?, peak: of("VmHWM")? })
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn memory_is_what_the_kernel_says_and_nothing_where_it_says_nothing() {
        let memory = Memory::read("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t    512 kB\n").unwrap();
        assert_eq!((memory.resident, memory.peak), (512 * 1024, 2048 * 1024));
        assert!(Memory::read("Name:\tx\nState:\tZ (zombie)\n").is_none());
    }
}
