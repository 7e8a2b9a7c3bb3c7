#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hubward_fuzz::facts::schedules(data));
