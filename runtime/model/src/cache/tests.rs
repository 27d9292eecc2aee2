use craftsman_kernelgen::float::Numbers;

use super::*;

fn pool(kept: &[Kept], limit: usize, options: KvOptions) -> Arc<Pool> {
    Arc::new(Pool::new(kept, limit, options))
}

fn kept(streams: &[usize], reach: Option<usize>) -> Kept {
    Kept { streams: streams.to_vec(), reach, rounds: true }
}

/// Appends `positions` rows to one layer of one stream of one number: the position itself.
fn fill(cache: &mut KvCache, positions: usize) {
    for _ in 0..positions {
        cache.reserve(1).unwrap();
        let position = cache.len() as f32;
        for layer in 0..cache.layers.len() {
            cache.append(layer, 0..1, &[position], 1);
        }
        cache.advance(1);
    }
}

fn floats(cache: &KvCache, layer: usize, stream: usize, positions: Range<usize>) -> Vec<f32> {
    let stretch = |rows: Rows<'_>| match rows.numbers {
        Numbers::F32(numbers) => numbers.to_vec(),
        Numbers::F16(numbers) => numbers.iter().map(|x| x.to_f32()).collect(),
        Numbers::Bytes { codes, scales } => {
            codes.iter().zip(scales).map(|(&c, s)| f32::from(c) * s).collect()
        }
    };
    cache.rows(layer, stream, positions).flat_map(stretch).collect()
}

fn numbers(range: Range<usize>) -> Vec<f32> {
    range.map(|i| i as f32).collect()
}

#[test]
fn streams_stay_contiguous_and_the_limit_is_an_error() {
    let layers = [kept(&[2, 2, 1], None), kept(&[2, 2, 1], None)];
    let mut cache = KvCache::new(pool(&layers, 3, KvOptions::default()));
    for position in 0..3 {
        cache.reserve(1).unwrap();
        for layer in 0..2 {
            let base = (position * 10 + layer) as f32;
            cache.append(layer, 0..2, &[base, base, base + 0.5, base + 0.5], 1);
            cache.append(layer, 2..3, &[-base], 1);
        }
        cache.advance(1);
    }
    assert_eq!(floats(&cache, 1, 1, 0..3), [1.5, 1.5, 11.5, 11.5, 21.5, 21.5]);
    assert_eq!(floats(&cache, 0, 2, 1..3), [-10.0, -20.0]);
    assert_eq!(cache.bytes_per_position(), 2 * 5 * 4);
    assert!(cache.reserve(1).unwrap_err().to_string().contains("context of 3"));
    cache.truncate(1);
    assert_eq!(cache.len(), 1);
    assert!(cache.reserve(2).is_ok());
}

#[test]
fn rows_come_back_over_pages_in_every_kind() {
    for kind in KvKind::ALL {
        let options = KvOptions { kind, ..KvOptions::default() };
        let mut cache = KvCache::new(pool(&[kept(&[1], None)], 1000, options));
        fill(&mut cache, 3 * PAGE + 5);
        let near = |(a, b): (f32, f32)| (a - b).abs() <= b * 1e-6;
        for range in [0..3 * PAGE + 5, 1..2, 60..70, PAGE..2 * PAGE, 63..3 * PAGE + 1] {
            let read = floats(&cache, 0, 0, range.clone());
            assert_eq!(read.len(), range.len());
            assert!(read.into_iter().zip(numbers(range)).all(near), "{kind}");
        }
    }
}

#[test]
fn what_may_not_be_rounded_is_not() {
    let layer = Kept { rounds: false, ..kept(&[1], None) };
    let options = KvOptions { kind: KvKind::Q8_0, ..KvOptions::default() };
    let cache = KvCache::new(pool(&[layer, kept(&[64], None)], 10, options));
    assert_eq!(cache.bytes_per_position(), 4 + 64 + 2 * 4);
}

#[test]
fn windows_give_pages_back_and_can_be_cut_a_little() {
    let mut cache = KvCache::new(pool(&[kept(&[1], None), kept(&[1], Some(10))], 1000, KvOptions::default()));
    fill(&mut cache, 5 * PAGE);
    cache.trim();
    assert_eq!([cache.layers[0].dropped, cache.layers[1].dropped], [0, 3]);
    assert_eq!(floats(&cache, 1, 0, 5 * PAGE - 10..5 * PAGE), numbers(5 * PAGE - 10..5 * PAGE));
    cache.truncate(4 * PAGE + 1);
    assert_eq!(cache.len(), 4 * PAGE + 1);
    cache.truncate(3 * PAGE);
    assert_eq!((cache.len(), cache.bytes()), (0, 0), "what position 3 PAGE reads was given back");
    fill(&mut cache, PAGE + 1);
    assert_eq!(floats(&cache, 0, 0, 0..PAGE + 1), numbers(0..PAGE + 1));
}

#[test]
fn a_budget_is_kept_and_given_back() {
    let page = PAGE * 4;
    let options = KvOptions { budget: Some(3 * page), share_prefixes: true, ..KvOptions::default() };
    let pool = pool(&[kept(&[1], None)], 1000, options);
    let tokens: Vec<u32> = (0..200).collect();
    let mut first = KvCache::new(Arc::clone(&pool));
    fill(&mut first, 2 * PAGE);
    let error = first.reserve(2 * PAGE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
    first.truncate(2 * PAGE);
    first.share(&tokens, &mut SharedPrefix::default());
    let mut second = KvCache::new(Arc::clone(&pool));
    assert_eq!(second.adopt(&tokens[..2 * PAGE]).pages, 1, "the last token is left to be computed");
    drop((first, second));
    assert_eq!(pool.bytes(), 2 * page, "prefixes stay");
    let mut third = KvCache::new(Arc::clone(&pool));
    third.reserve(3 * PAGE).expect("unused prefixes make room");
    assert_eq!(pool.prefixes(|prefixes| prefixes.len()), 0);
}

#[test]
fn shared_pages_are_copied_before_they_are_written() {
    let options = KvOptions { share_prefixes: true, ..KvOptions::default() };
    let pool = pool(&[kept(&[1], None)], 1000, options);
    let tokens: Vec<u32> = (0..300).collect();
    let mut first = KvCache::new(Arc::clone(&pool));
    fill(&mut first, 3 * PAGE);
    first.share(&tokens, &mut SharedPrefix::default());
    let mut second = KvCache::new(Arc::clone(&pool));
    assert_eq!(second.adopt(&tokens).pages, 3);
    // Cut into the middle of a page that others hold too, and written differently from there.
    second.truncate(2 * PAGE + 7);
    second.reserve(1).unwrap();
    second.append(0, 0..1, &[-1.0], 1);
    second.advance(1);
    assert_eq!(floats(&second, 0, 0, 2 * PAGE + 6..2 * PAGE + 8), [(2 * PAGE + 6) as f32, -1.0]);
    assert_eq!(floats(&first, 0, 0, 0..3 * PAGE), numbers(0..3 * PAGE));
    let mut other = tokens.clone();
    other[PAGE] = 7;
    assert_eq!(KvCache::new(Arc::clone(&pool)).adopt(&other).pages, 1, "up to the first page that differs");
}
