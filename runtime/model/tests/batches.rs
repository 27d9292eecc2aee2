//! Sessions that share passes, pages and models: none can tell from its results.

mod support;

use std::num::NonZeroUsize;
use std::sync::Arc;

use craftsman_model::container::Checkpoint;
use craftsman_model::{
    BatchEntry, CancelToken, ErrorKind, KvKind, KvOptions, KvPool, LoadOptions, Model, Session,
};
use support::{Reference, bits, fixture};

/// One of each kind of mixer and feed-forward part.
const MODELS: [&str; 6] = [
    "arch/llama/model-f16.gguf",
    "arch/qwen3_moe/model-f16.gguf",
    "arch/glm4_moe_lite/model-f16.gguf",
    "arch/lfm2/model-f16.gguf",
    "ternary/containers/model-i2_s.gguf",
    "ternary/qwen3_moe/model-tq2_0.gguf",
];

fn load(name: &str, threads: usize) -> Arc<Model> {
    let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
    let options = LoadOptions { threads: NonZeroUsize::new(threads), ..LoadOptions::default() };
    Model::load(&checkpoint, &options).unwrap()
}

fn bitnet() -> (Arc<Model>, Vec<u32>) {
    (load("ternary/bitnet/model-i2_s.gguf", 2), Reference::open("ternary/bitnet").val_tokens)
}

/// Tokens of a made-up text.
fn text(seed: u32, length: usize) -> Vec<u32> {
    (0..length as u32).map(|i| (i * i * 7 + i * seed * 13 + seed) % 500).collect()
}

/// What `pool`'s sessions answer after each of `steps`, one session after the other.
fn alone(pool: &KvPool, steps: &[Vec<Vec<u32>>]) -> Vec<Vec<u32>> {
    let run = |steps: &Vec<Vec<u32>>| {
        let mut session = pool.session();
        for tokens in steps {
            session.prefill(tokens).unwrap();
        }
        bits(session.logits())
    };
    steps.iter().map(run).collect()
}

/// The same with each step of all sessions in one pass.
fn together(pool: &KvPool, steps: &[Vec<Vec<u32>>]) -> Vec<Vec<u32>> {
    let mut sessions: Vec<Session> = steps.iter().map(|_| pool.session()).collect();
    let rounds = steps.iter().map(Vec::len).max().unwrap();
    for round in 0..rounds {
        let with_steps = sessions.iter_mut().zip(steps);
        let entries = with_steps.filter_map(|(session, steps)| {
            Some(BatchEntry { session, tokens: steps.get(round)?, wanted: 1 })
        });
        Session::prefill_batch(&mut entries.collect::<Vec<_>>()).unwrap();
    }
    sessions.iter().map(|session| bits(session.logits())).collect()
}

#[test]
fn a_batch_answers_as_its_sessions_would_alone() {
    let steps: Vec<Vec<Vec<u32>>> = vec![
        vec![text(1, 9), text(2, 1), text(3, 1)],
        vec![text(4, 1), text(5, 12)],
        vec![text(6, 20), text(7, 1), text(8, 1)],
    ];
    for name in MODELS {
        for kind in KvKind::ALL {
            let pool = KvPool::new(&load(name, 2), KvOptions { kind, ..KvOptions::default() });
            assert!(together(&pool, &steps) == alone(&pool, &steps), "{name} with {kind}");
        }
    }
}

#[test]
fn one_by_one_and_all_at_once_give_the_same_bits_of_rounded_rows() {
    let (model, tokens) = bitnet();
    let tokens = &tokens[..150];
    for kind in [KvKind::F16, KvKind::Q8_0] {
        let pool = KvPool::new(&model, KvOptions { kind, ..KvOptions::default() });
        let all = bits(&pool.session().logits_all(tokens).unwrap());
        let mut session = pool.session();
        let one: Vec<u32> = tokens.iter().flat_map(|&t| bits(session.decode(t).unwrap())).collect();
        assert!(one == all, "{kind}");
    }
}

#[test]
fn rounded_rows_change_logits_a_little() {
    let (model, tokens) = bitnet();
    let logits = |kind| {
        let pool = KvPool::new(&model, KvOptions { kind, ..KvOptions::default() });
        pool.session().logits_all(&tokens[..200]).unwrap()
    };
    let exact = logits(KvKind::F32);
    let off = |kind| {
        let squares = logits(kind).iter().zip(&exact).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        (squares / exact.len() as f64).sqrt()
    };
    let (halves, bytes) = (off(KvKind::F16), off(KvKind::Q8_0));
    println!("root mean square off by: f16 {halves:.1e}, q8_0 {bytes:.1e}");
    // The logits' spread is 2.3; activations that fall on the other side of a rounding tie make up most of this.
    assert!(halves > 0.0 && halves < 0.1 && bytes > 0.0 && bytes < 0.2);
}

#[test]
fn long_prompts_of_several_sessions_divide_the_passes() {
    let (model, tokens) = bitnet();
    let pool = KvPool::new(&model, KvOptions::default());
    let steps =
        vec![vec![tokens[..700].to_vec()], vec![tokens[700..703].to_vec()], vec![tokens[40..600].to_vec()]];
    assert!(together(&pool, &steps) == alone(&pool, &steps));
}

#[test]
fn what_is_wanted_are_the_last_rows() {
    let model = load(MODELS[0], 1);
    let tokens = text(3, 12);
    let all = model.session().logits_all(&tokens).unwrap();
    let vocab = model.config().vocab;
    for wanted in [0, 1, 5, 12, 99] {
        let mut session = model.session();
        let entry = BatchEntry { session: &mut session, tokens: &tokens, wanted };
        Session::prefill_batch(&mut [entry]).unwrap();
        let rows = wanted.min(12);
        assert!(bits(session.logits()) == bits(&all[(12 - rows) * vocab..]), "{wanted} wanted");
    }
}

#[test]
fn what_was_released_or_cut_is_computed_again() {
    for name in MODELS {
        let model = load(name, 1);
        let tokens = text(9, 30);
        let expected = bits(model.session().prefill(&tokens).unwrap());
        let mut session = model.session();
        session.prefill(&tokens[..20]).unwrap();
        session.release();
        assert_eq!((session.position(), session.cache().bytes()), (20, 0));
        assert!(bits(session.prefill(&tokens[20..]).unwrap()) == expected, "{name} released");
        let mut fork = session.fork();
        session.truncate(25);
        session.prefill(&text(1, 5)).unwrap();
        assert_eq!(fork.rewind(&tokens), 29);
        assert!(bits(fork.prefill(&tokens[29..]).unwrap()) == expected, "{name} forked");
        assert_eq!(session.rewind(&tokens), 25);
        assert!(bits(session.prefill(&tokens[25..]).unwrap()) == expected, "{name} rewound");
    }
}

#[test]
fn sessions_share_what_they_have_in_common() {
    let (model, tokens) = bitnet();
    let expected = bits(model.session().prefill(&tokens[..200]).unwrap());
    let pool = KvPool::new(&model, KvOptions { share_prefixes: true, ..KvOptions::default() });
    let mut first = pool.session();
    first.prefill(&tokens[..150]).unwrap();
    let alone = pool.bytes();
    let mut second = pool.session();
    assert!(bits(second.prefill(&tokens[..200]).unwrap()) == expected);
    assert!(pool.bytes() < 2 * alone, "{} bytes after {alone}", pool.bytes());
    assert_eq!(pool.shared_pages(), 3, "of 64 tokens each");
    drop((first, second));
    let mut third = pool.session();
    assert!(bits(third.prefill(&tokens[..200]).unwrap()) == expected);
    assert!(
        bits(&pool.session().logits_all(&tokens[..130]).unwrap())
            == bits(&model.session().logits_all(&tokens[..130]).unwrap())
    );
}

#[test]
fn a_budget_that_is_used_up_is_an_error_and_changes_nothing() {
    let (model, tokens) = bitnet();
    let one_page = KvPool::new(&model, KvOptions::default()).bytes_for(1);
    let pool = KvPool::new(&model, KvOptions { budget: Some(2 * one_page), ..KvOptions::default() });
    let (mut first, mut second) = (pool.session(), pool.session());
    let before = bits(first.prefill(&tokens[..100]).unwrap());
    let error = second.prefill(&tokens[..10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory, "{error}");
    assert_eq!((second.position(), second.cache().bytes(), pool.bytes()), (0, 0, 2 * one_page));
    first.release();
    second.prefill(&tokens[..10]).unwrap();
    second.release();
    first.truncate(99);
    assert!(bits(first.prefill(&tokens[99..100]).unwrap()) == before);
}

#[test]
fn a_cancelled_pass_leaves_the_session_as_it_was() {
    let (model, tokens) = bitnet();
    let mut session = model.session();
    session.prefill(&tokens[..10]).unwrap();
    let token = CancelToken::new();
    session.cancel_with(Some(token.clone()));
    session.prefill(&tokens[10..20]).unwrap();
    token.cancel();
    let error = session.prefill(&tokens[20..40]).unwrap_err();
    assert_eq!((error.kind(), session.position()), (ErrorKind::Cancelled, 20));
    session.cancel_with(None);
    let expected = bits(model.session().prefill(&tokens[..40]).unwrap());
    assert!(bits(session.prefill(&tokens[20..40]).unwrap()) == expected);
}

#[test]
fn sessions_of_two_models_are_no_batch() {
    let (mut first, mut second) = (load(MODELS[0], 1).session(), load(MODELS[0], 1).session());
    let [a, b] = [&mut first, &mut second].map(|session| BatchEntry { session, tokens: &[1], wanted: 1 });
    assert_eq!(Session::prefill_batch(&mut [a, b]).unwrap_err().kind(), ErrorKind::Input);
    assert!(Session::prefill_batch(&mut []).is_ok());
}
