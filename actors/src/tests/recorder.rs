//! A recorder of metrics that a test can ask. Tests whose runtime has one thread install it for that thread.
//!
//! Never: another test's numbers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// By name and labels, as `name{label=value}`.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

/// Counts what was recorded, whatever the values.
#[derive(Debug)]
struct Count(Arc<AtomicU64>);

impl HistogramFn for Count {
    fn record(&self, _value: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Numbers {
    fn slot(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = if labels.is_empty() { key.name().to_owned() } else { format!("{}{{{}}}", key.name(), labels.join(",")) };
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    /// A counter's value, or how often a histogram was recorded to; 0 for what was never touched.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).map_or(0, |slot| slot.load(Ordering::Relaxed))
    }

    /// A gauge's value.
    pub(crate) fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.count(name))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }
}

impl Recorder for Numbers {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.slot(key).into()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.slot(key).into()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Arc::new(Count(self.slot(key))).into()
    }
}
