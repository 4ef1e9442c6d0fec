//! What of the limits is used up.

use crate::proxy::service::Service;
use crate::telemetry::metrics::{Family, Kind, Value};

// === impl Service ===

impl Service {
    pub(super) fn limit_metrics(&self) -> Vec<Family> {
        let gauge = |name, help| Family::new(name, Kind::Gauge, help);
        let (memory, waiting) = (self.memory(), self.limited());
        let mut limited = gauge(
            "respgate_limited",
            "Users and addresses that have used more than their rates, and wait.",
        );
        for (of, count) in [("user", waiting.users), ("address", waiting.addresses)] {
            limited.put(vec![("of", of.to_owned())], Value::Count(count as u64));
        }
        vec![
            gauge(
                "respgate_memory_held_bytes",
                "What clients make the proxy hold, of limits.memory.",
            )
            .count(memory.used as u64),
            gauge("respgate_memory_budget_bytes", "limits.memory.").count(memory.most as u64),
            gauge(
                "respgate_memory_holders",
                "Sessions that hold some of limits.memory.",
            )
            .count(memory.holders as u64),
            limited,
        ]
    }
}
