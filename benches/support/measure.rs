//! Clocks, memory, and statistics over figures.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use super::Result;

/// CPU time of this process so far, user and system, in seconds.
pub(crate) fn cpu() -> f64 {
    read(ClockId::ProcessCPUTime).as_secs_f64()
}

/// The monotonic time, which all processes of the machine share.
pub(crate) fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

fn read(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// A value of `/proc/self/status` in bytes, such as `VmHWM` (the peak) or `VmRSS`.
pub(crate) fn memory(name: &str) -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib: f64 = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no such line of memory")?.parse()?;
    Ok(kib * 1024.0)
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    percentile(figures, 50)
}

/// The smallest figure that at least `percent` of the figures do not exceed.
pub(crate) fn percentile(figures: &[f64], percent: usize) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

pub(crate) fn count(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
