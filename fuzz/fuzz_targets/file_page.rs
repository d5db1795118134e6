#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = luma_agents::fuzz::file_page(data);
});
