use craftsman_isa::recorded;

use super::*;

fn rate(median: f64) -> Samples {
    Samples::new(vec![median; 3]).unwrap().summary()
}

fn read(level: Level, threads: usize, bytes_per_second: f64) -> ReadRate {
    ReadRate { level, threads, bytes: 1 << 20, streams: 4, prefetch: 2048, rate: rate(bytes_per_second) }
}

fn products(backend: &str, threads: usize, per_second: f64) -> ProductRate {
    ProductRate { backend: backend.to_owned(), threads, rate: rate(per_second) }
}

fn example() -> Roofline {
    Roofline {
        reads: vec![read(Level::L1, 1, 200e9), read(Level::Dram, 1, 10e9), read(Level::Dram, 2, 18e9)],
        products: vec![products("portable", 1, 50e9), products("avx2", 1, 200e9)],
    }
}

#[test]
fn what_is_saved_is_loaded_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("new"));
    let machine = Machine::new(&recorded::by_name("zen3").unwrap());
    assert_eq!(Roofline::load(&store, &machine).unwrap(), None);
    example().save(&store, &machine).unwrap();
    assert_eq!(Roofline::load(&store, &machine).unwrap(), Some(example()));
    let later =
        Roofline { reads: vec![read(Level::Dram, 1, 12e9)], products: vec![products("avx2", 2, 390e9)] };
    later.save(&store, &machine).unwrap();
    let merged = Roofline::load(&store, &machine).unwrap().unwrap();
    assert_eq!(merged.bandwidth(Level::Dram, 1), Some(12e9));
    assert_eq!(merged.bandwidth(Level::Dram, 2), Some(18e9));
    assert_eq!((merged.peak(1), merged.peak(2), merged.peak(3)), (Some(200e9), Some(390e9), None));
    assert_eq!(Roofline::load(&store, &Machine::new(&recorded::by_name("zen4").unwrap())).unwrap(), None);
}

#[test]
fn a_bound_is_the_longer_of_reading_and_multiplying() {
    let bound = |level, threads, bytes, products| example().bound(level, threads, bytes, products);
    assert_eq!(bound(Level::Dram, 1, 10_000, 100_000), Some(Duration::from_micros(1)));
    assert_eq!(bound(Level::Dram, 1, 10_000, 400_000), Some(Duration::from_micros(2)));
    assert_eq!(bound(Level::Dram, 2, 18_000, 400_000), Some(Duration::from_micros(1)));
    assert_eq!(bound(Level::L3, 5, 1, 1), None);
}

#[test]
fn a_rate_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let machine = Machine::new(&recorded::by_name("zen3").unwrap());
    Roofline { reads: vec![read(Level::L1, 1, 0.0)], products: Vec::new() }.save(&store, &machine).unwrap();
    let error = Roofline::load(&store, &machine).unwrap_err().to_string();
    assert!(error.contains("a rate of 0") && error.contains("roofline-amd"), "{error}");
}

#[test]
fn the_level_that_holds_a_working_set_is_the_nearest() {
    let caches = recorded::by_name("zen3").unwrap().caches;
    assert_eq!(Level::holding(&caches, 16 << 10, 1), Level::L1);
    assert_eq!(Level::holding(&caches, 33 << 10, 1), Level::L2);
    assert_eq!(Level::holding(&caches, 20 << 20, 1), Level::L3);
    assert_eq!(Level::holding(&caches, 20 << 20, 2), Level::Dram);
    assert_eq!(Level::holding(&Caches::default(), 1, 1), Level::Dram);
}
