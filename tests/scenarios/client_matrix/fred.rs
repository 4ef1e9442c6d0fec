//! What applications do, with fred.
use super::{Place, Seen};
pub fn run(_place: &Place, _protocol: u8) -> Seen {
    Seen::default()
}
