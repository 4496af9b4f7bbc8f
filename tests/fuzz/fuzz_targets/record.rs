//! What stands in Redis was written by anybody: it is read or refused, and what was read is written as it was read.
#![no_main]

use burdock::registry::record::{Heartbeat, Record};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = serde_json::from_slice::<Record>(bytes) {
        let written = serde_json::to_string(&record).expect("written");
        let again: Record = serde_json::from_str(&written).expect("what was written is read");
        assert_eq!(serde_json::to_string(&again).expect("written"), written);
        let initialize = |record: &Record| record.initialize.as_deref().map(|text| text.get().to_owned());
        assert_eq!(initialize(&again), initialize(&record));
    }
    if let Ok(heartbeat) = serde_json::from_slice::<Heartbeat>(bytes) {
        let written = serde_json::to_vec(&heartbeat).expect("written");
        assert_eq!(serde_json::from_slice::<Heartbeat>(&written).expect("what was written is read"), heartbeat);
    }
});
