#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = luma_agents::fuzz::retry_after_ms(data);
});
