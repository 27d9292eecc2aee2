//! What Linux says of a processor's caches, in files under `/sys`, as plain functions of what is read.

use super::text;
use crate::{Cache, Caches};

/// More caches than one core has.
const MOST: usize = 16;

/// The data caches of one logical core; `read` reads files below its `cache` folder.
pub fn caches(read: impl Fn(&str) -> Option<String>) -> Caches {
    let mut found = Caches::default();
    for index in 0..MOST {
        let field = |name: &str| read(&format!("index{index}/{name}")).map(|text| text.trim().to_owned());
        let Some(cache) = cache(field) else { continue };
        match (field("level").as_deref(), field("type").as_deref()) {
            (Some("1"), Some("Data" | "Unified")) => found.l1d = Some(cache),
            (Some("2"), Some("Data" | "Unified")) => found.l2 = Some(cache),
            (Some("3"), Some("Data" | "Unified")) => found.l3 = Some(cache),
            _ => {}
        }
    }
    found
}

fn cache(field: impl Fn(&str) -> Option<String>) -> Option<Cache> {
    let shared = field("shared_cpu_list").and_then(|list| text::cpu_list(&list));
    Some(Cache {
        size_bytes: text::size(&field("size")?)?,
        line_bytes: field("coherency_line_size")?.parse().ok()?,
        shared_by: shared.map_or(1, |cpus| cpus.len() as u32),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded;

    /// Level, type, size and sharing of the four caches that a Graviton3 shows.
    const GRAVITON3: [[&str; 4]; 4] = [
        ["1", "Data", "64K", "0"],
        ["1", "Instruction", "64K", "0"],
        ["2", "Unified", "1024K", "0"],
        ["3", "Unified", "32768K", "0-63"],
    ];

    fn file(path: &str, caches: &[[&str; 4]]) -> Option<String> {
        let (index, name) = path.strip_prefix("index")?.split_once('/')?;
        let [level, kind, size, shared] = caches.get(index.parse::<usize>().ok()?)?;
        let text = match name {
            "level" => level,
            "type" => kind,
            "size" => size,
            "shared_cpu_list" => shared,
            "coherency_line_size" => "64",
            _ => return None,
        };
        Some(format!("{text}\n"))
    }

    #[test]
    fn a_graviton3_is_what_was_recorded() {
        let caches = caches(|path| file(path, &GRAVITON3));
        assert_eq!(caches, recorded::by_name("graviton3").unwrap().caches);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let damaged = [["1", "Data", "64K", "0"], ["2", "Unified", "many", "0"]];
        let found = caches(|path| file(path, &damaged));
        assert!(found.l1d.is_some() && found.l2.is_none() && found.l3.is_none());
        assert_eq!(caches(|_| None), Caches::default());
    }
}
