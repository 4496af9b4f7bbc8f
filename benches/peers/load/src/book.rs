//! What was measured: for each quantity and server a value per round, and of these the median.

use std::collections::BTreeMap;

use crate::server::Who;

/// A quantity of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// CPU time of a whole short session, µs.
    Churn,
    /// What Redis adds to it, µs.
    RedisExtra,
    /// The latency of `initialize` with Redis by that without.
    RedisInitialize,
    /// The latency of `initialize` on one connection, median, µs.
    Initialize,
    /// CPU time of a call among many sessions, µs.
    Call,
    /// The latency of a call on one connection, median, µs.
    CallLatency,
    /// Memory of an idle session with its stream, kB.
    IdleSession,
    /// What is left 2 s after the last delete, beyond what a few sessions leave, MB.
    IdleLeft2,
    /// The same 6 s after it.
    IdleLeft6,
    /// The least of the first 15 s after it.
    IdleLeft,
    /// The 99th percentile of calls with idle sessions present by that with none.
    IdleCalls,
    /// From a broadcast to its arrival, 99th percentile, ms.
    FanOut,
    /// Until everyone is back after `kill -9`, ms.
    Storm,
    /// The same when all connect in the same moment, ms.
    StormAtOnce,
    /// The gateway's CPU time of a call to a child, µs.
    StdioCall,
    /// CPU time of a whole session with a child, the child's included, µs.
    StdioSession,
    /// The program's file, MB.
    Binary,
    /// Memory without a session, MB.
    Empty,
    /// From the start to the first answer, ms.
    Start,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Book {
    values: BTreeMap<(Metric, Who), Vec<f64>>,
    /// What is to be told below the table.
    pub remarks: Vec<String>,
}

impl Book {
    /// Notes a value of one round.
    pub fn note(&mut self, metric: Metric, who: Who, value: f64) {
        eprintln!("  {:<14} {metric:?} {value:.2}", who.name());
        self.values.entry((metric, who)).or_default().push(value);
    }

    /// The last round's value.
    pub fn last(&self, metric: Metric, who: Who) -> Option<f64> {
        self.values.get(&(metric, who))?.last().copied()
    }

    /// The median of all rounds.
    pub fn median(&self, metric: Metric, who: Who) -> Option<f64> {
        let mut values = self.values.get(&(metric, who))?.clone();
        Some(quantile(&mut values, 0.5))
    }

    /// How far the rounds are apart: the largest by the smallest, less one.
    pub fn spread(&self, metric: Metric, who: Who) -> Option<f64> {
        let values = self.values.get(&(metric, who))?;
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        (values.len() > 1 && least > 0.0).then(|| most / least - 1.0)
    }

    /// All that there are values of.
    pub fn keys(&self) -> impl Iterator<Item = (Metric, Who)> {
        self.values.keys().copied()
    }
}

/// The value below which this share of them lies; 0 when there is none. Sorts them.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 - 1.0) * share).round().max(0.0);
    values.get(index as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        assert_eq!(quantile(&mut [3.0, 1.0, 2.0], 0.5), 2.0);
        let mut hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(quantile(&mut hundred, 0.99), 99.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}
