//! What people do with redis-cli and redis-benchmark.
use super::{Place, Seen};
pub fn redis_cli(_place: &Place, _protocol: u8) -> Seen {
    Seen::default()
}
pub fn redis_benchmark(_place: &Place, _protocol: u8) -> Seen {
    Seen::default()
}
