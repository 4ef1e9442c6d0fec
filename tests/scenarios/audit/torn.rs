//! A file that ends in half a line.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use serde_json::Value;

use crate::support::{Proxy, RedisServer, Version, eventually};

#[test]
fn behind_half_a_line_of_a_process_that_was_killed_the_next_one_is_whole() {
    let server = RedisServer::start(Version::V8_2_3, &[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let section = format!(
        "[audit]\npath = \"{}\"\ndecisions = \"all\"\n",
        path.display()
    );
    let half = "{\"time\":\"2026-01-01T00:00:00.000Z\",\"event\":\"allowed\",\"ver";
    for turn in 1..=2 {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        file.write_all(half.as_bytes()).unwrap();
        let mut proxy = Proxy::builder().upstream(&server).section(&section).start();
        proxy.client("cart").call(&["GET", "cart:1"]);
        proxy.terminate();
        proxy.wait();
        eventually("all is written", || {
            fs::read_to_string(&path).unwrap().ends_with('\n')
        });
        let text = fs::read_to_string(&path).unwrap();
        let (damaged, whole): (Vec<&str>, Vec<&str>) = text
            .lines()
            .partition(|line| serde_json::from_str::<Value>(line).is_err());
        assert_eq!(damaged, vec![half; turn], "{text}");
        let gets = whole.iter().filter(|line| line.contains("cart:1"));
        assert_eq!(gets.count(), turn, "{text}");
    }
}
