//! Whatever a line of an input holds, reading it never panics, and what was read has a fingerprint and a request or
//! an error.
#![no_main]

use luma_agents_batch::{Sha256, input::Line};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    match Line::parse(17, text) {
        Ok(line) => {
            let paths = line.local_paths().len();
            let _ = (line.fingerprint(|path| Ok(Sha256::of(path))), line.request(|_| Default::default()), paths);
        }
        Err(problems) => assert!(!problems.is_empty()),
    }
});
