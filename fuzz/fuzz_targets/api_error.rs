#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| luma_agents::fuzzing::api_error(data));
