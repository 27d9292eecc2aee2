//! The search against machines that are made up: every time is computed, so every answer is known.

use std::collections::HashSet;

use craftsman_isa::recorded;

use super::*;
use crate::config::{KernelConfig, Tile};
use crate::verify::Random;

const BUDGET: Duration = Duration::from_hours(1);

fn config(name: &str) -> KernelConfig {
    name.parse().unwrap()
}

fn question() -> Question {
    Question { key: "4096x4096-decode-tensor-a8".parse().unwrap(), residence: Residence::Dram, threads: 2 }
}

fn field() -> Vec<KernelConfig> {
    ["avx2-i2s.masked-2x1s2u15p2048", "avx2-i2s.masked-1x1s1u15p2048", "portable-i2s.masked-2x1s2u2p0"]
        .map(config)
        .into()
}

/// A machine whose kernels take `cost(config)` milliseconds, times what else happens to it.
struct Machine<'m> {
    cost: &'m dyn Fn(&KernelConfig) -> f64,
    random: Random,
    /// Half of the width of uniform noise, relative.
    noise: f64,
    /// One sample of so many takes four times as long; 0 for none.
    burst_every: u64,
    /// How much slower the machine gets with each sample.
    drift: f64,
    samples: u64,
    now: Duration,
    ready: HashSet<KernelConfig>,
    timed: HashSet<KernelConfig>,
    admissions: usize,
}

impl<'m> Machine<'m> {
    fn new(cost: &'m dyn Fn(&KernelConfig) -> f64) -> Self {
        Self {
            cost,
            random: Random::new(7),
            noise: 0.0,
            burst_every: 0,
            drift: 0.0,
            samples: 0,
            now: Duration::ZERO,
            ready: HashSet::new(),
            timed: HashSet::new(),
            admissions: 0,
        }
    }
}

impl Stopwatch for Machine<'_> {
    fn admit(&mut self, config: &KernelConfig) -> Result<(), String> {
        if config.tile.unroll > 16 {
            return Err("cannot be said".to_owned());
        }
        self.admissions += usize::from(self.ready.insert(*config));
        Ok(())
    }

    fn time(&mut self, config: &KernelConfig) -> Duration {
        assert!(self.ready.contains(config), "{config} was not admitted");
        self.samples += 1;
        let warm = if self.timed.insert(*config) { 10.0 } else { 1.0 };
        let uniform = (self.random.next() % 10_001) as f64 / 5_000.0 - 1.0;
        let burst = if self.burst_every > 0 && self.random.next().is_multiple_of(self.burst_every) {
            4.0
        } else {
            1.0
        };
        let slower = 1.0 + self.drift * self.samples as f64;
        let milliseconds = (self.cost)(config) * warm * (1.0 + self.noise * uniform) * burst * slower;
        let time = Duration::from_secs_f64(milliseconds / 1e3);
        self.now += time;
        time
    }

    fn dismiss(&mut self, config: &KernelConfig) {
        assert!(self.ready.remove(config), "{config} was not ready");
    }

    fn elapsed(&self) -> Duration {
        self.now
    }
}

/// A bowl: the best is 4 panels, 8 steps, 4096 bytes ahead; a step in any parameter away from it costs some per cent.
fn bowl(config: &KernelConfig) -> f64 {
    let Tile { panels, unroll, prefetch, .. } = config.tile;
    let away = |value: usize, best: usize| ((value.max(1) as f64) / best as f64).log2().abs();
    let backend = if config.backend == "avx2" { 1.0 } else { 3.0 };
    backend * (1.0 + 0.06 * away(panels, 4) + 0.05 * away(unroll, 8) + 0.04 * away(prefetch, 4096))
}

fn search(machine: &mut Machine<'_>, budget: Duration, before: Option<&Answer>) -> Answer {
    let mut search = Search::new(question(), field()[0], before);
    search.run(&field(), machine, budget, &mut |_| ()).unwrap();
    search.answer()
}

#[test]
fn the_bottom_of_a_bowl_is_found() {
    let answer = search(&mut Machine::new(&bowl), BUDGET, None);
    assert_eq!(answer.choice, config("avx2-i2s.masked-4x1s4u8p4096"));
    assert!(answer.finished);
    let expected = bowl(&answer.heuristic) / bowl(&answer.choice);
    assert!((answer.gain - expected).abs() < 1e-4, "{} {expected}", answer.gain);
}

#[test]
fn noise_bursts_and_drift_do_not_lead_astray() {
    let mut machine = Machine { noise: 0.02, burst_every: 10, drift: 1e-3, ..Machine::new(&bowl) };
    let answer = search(&mut machine, BUDGET, None);
    assert!(answer.finished);
    let lost = bowl(&answer.choice) / bowl(&config("avx2-i2s.masked-4x1s4u8p4096"));
    assert!(lost < 1.05, "{} is {lost} times as slow as the best", answer.choice);
    let expected = bowl(&answer.heuristic) / bowl(&answer.choice);
    assert!((answer.gain / expected - 1.0).abs() < 0.03, "{} {expected}", answer.gain);
}

#[test]
fn a_tie_goes_to_the_heuristic_choice() {
    for noise in [0.0, 0.01, 0.02] {
        let answer = search(&mut Machine { noise, ..Machine::new(&|_| 1.0) }, BUDGET, None);
        assert_eq!((answer.choice, answer.gain), (answer.heuristic, 1.0), "{noise}");
        assert!(answer.finished);
    }
}

#[test]
fn the_heuristic_choice_wins_when_it_is_the_best() {
    let best = field()[0];
    let cost = |config: &KernelConfig| if *config == best { 1.0 } else { 1.2 };
    let answer = search(&mut Machine { noise: 0.03, ..Machine::new(&cost) }, BUDGET, None);
    assert_eq!((answer.choice, answer.gain, answer.finished), (best, 1.0, true));
}

#[test]
fn the_first_sample_is_distrusted() {
    let answer = search(&mut Machine::new(&bowl), BUDGET, None);
    let slowest = answer.ranking.iter().map(|trial| trial.ratio.max).fold(0.0, f64::max);
    assert!(slowest < 5.0, "a cold sample was counted: {slowest}");
}

#[test]
fn what_is_slow_is_not_measured_for_long() {
    let mut machine = Machine::new(&bowl);
    let answer = search(&mut machine, BUDGET, None);
    let portable = answer.ranking.iter().find(|trial| trial.config.backend == "portable").unwrap();
    let choice = answer.ranking.iter().find(|trial| trial.config == answer.choice).unwrap();
    assert!(portable.ratio.count < choice.ratio.count, "{portable:?} {choice:?}");
}

#[test]
fn a_budget_is_kept_and_gives_an_answer() {
    let mut machine = Machine::new(&bowl);
    let answer = search(&mut machine, Duration::from_millis(60), None);
    assert!(!answer.finished);
    assert!(machine.now < Duration::from_millis(240), "{:?}", machine.now);
    assert!(answer.plausible().is_ok() && answer.gain >= 1.0);
}

#[test]
fn a_stopped_search_goes_on_where_it_was() {
    let whole = search(&mut Machine::new(&bowl), BUDGET, None);
    let mut admitted = Vec::new();
    let mut answer = None;
    for _ in 0..100 {
        let mut machine = Machine::new(&bowl);
        // As from the file: what was written is what is read.
        let text = serde_json::to_string(&answer).unwrap();
        answer = serde_json::from_str::<Option<Answer>>(&text).unwrap();
        let next = search(&mut machine, Duration::from_millis(400), answer.as_ref());
        admitted.push(machine.admissions);
        let done = next.finished;
        answer = Some(next);
        if done {
            break;
        }
    }
    let answer = answer.unwrap();
    assert!(answer.finished && admitted.len() > 1, "{admitted:?}");
    assert_eq!(answer.choice, whole.choice);
    // Once finished, nothing is measured again.
    let mut machine = Machine::new(&bowl);
    assert_eq!(search(&mut machine, BUDGET, Some(&answer)).choice, whole.choice);
    assert!(machine.samples < 20);
}

#[test]
fn another_heuristic_choice_begins_anew() {
    let before = search(&mut Machine::new(&bowl), BUDGET, None);
    let search = Search::new(question(), field()[1], Some(&before));
    assert!(!search.finished() && search.answer().ranking.is_empty());
}

#[test]
fn a_heuristic_choice_that_cannot_be_had_is_an_error() {
    let mut search = Search::new(question(), config("avx2-i2s.masked-1x1s1u32p0"), None);
    let said = search.run(&field(), &mut Machine::new(&bowl), BUDGET, &mut |_| ());
    assert_eq!(said, Err("cannot be said".to_owned()));
}

/// An answer whose ranking is `(name, ratio)`, the first being the heuristic choice.
fn answer(key: &str, ranking: &[(&str, f64)]) -> Answer {
    let key = key.parse().unwrap();
    let trial = |&(name, ratio): &(&str, f64)| {
        let ratio = crate::roofline::Samples::new(vec![ratio; 9]).unwrap();
        Trial { config: config(name), ratio, out: false }
    };
    let mut trials: Vec<_> = ranking.iter().map(trial).collect();
    let heuristic = trials[0].config;
    trials.sort_by(|a, b| a.ratio.median.total_cmp(&b.ratio.median));
    Answer {
        question: Question { key, ..question() },
        choice: trials[0].config,
        gain: 1.0 / trials[0].ratio.median,
        share: None,
        finished: true,
        heuristic,
        heuristic_seconds: 1e-3,
        ranking: trials,
    }
}

#[test]
fn one_layout_serves_all_batches() {
    // The vectors of avx2 and avx512vnni differ in length, hence the layouts.
    let (narrow, wide) = ("avx2-i2s.masked-2x1s2u15p2048", "avx512vnni-i2s.planes-4x1s4u2p2048");
    let decode = answer("4096x4096-decode-tensor-a8", &[(wide, 1.0), (narrow, 0.9)]);
    let prefill = answer("4096x4096-prefill-tensor-a8", &[(wide, 1.0), (narrow, 2.0)]);
    let order = |answers: &[&Answer]| {
        let ranking = |answer: &&Answer| choose::Ranking::new(&answer.question.key, Some(answer), &[]);
        let rankings: Vec<_> = answers.iter().map(ranking).collect();
        let layouts = choose::layouts(&rankings);
        rankings.iter().map(|ranking| ranking.by(&layouts)).collect::<Vec<_>>()
    };
    // Decode alone would take the narrow one; what prefill loses by it weighs more.
    assert_eq!(order(&[&decode, &prefill]), vec![vec![config(wide), config(narrow)]; 2]);
    assert_eq!(order(&[&decode]), [[config(narrow), config(wide)]]);
}

#[test]
fn what_was_not_measured_comes_after_what_was() {
    let measured = answer("4096x4096-decode-tensor-a8", &[("avx2-i2s.masked-1x1s1u15p2048", 1.0)]);
    let key = measured.question.key;
    let predicted = [("avx512vnni-i2s.planes-4x1s4u2p2048", 5.0), ("avx2-i2s.masked-1x1s1u15p2048", 20.0)];
    let predicted = predicted.map(|(name, time)| (config(name), time));
    let order = |answer| {
        let ranking = choose::Ranking::new(&key, answer, &predicted);
        let layouts = choose::layouts(std::slice::from_ref(&ranking));
        ranking.by(&layouts)
    };
    assert_eq!(order(None), predicted.map(|(config, _)| config));
    assert_eq!(order(Some(&measured)), [predicted[1].0, predicted[0].0]);
}

#[test]
fn the_nearest_number_of_threads_answers() {
    let at = |threads| {
        let mut one = answer("4096x4096-decode-tensor-a8", &[("avx2-i2s.masked-2x1s2u15p2048", 1.0)]);
        one.question.threads = threads;
        one
    };
    let tuning = Tuning::new(vec![at(1), at(8)]);
    let threads = |asked, residence| {
        tuning.answer(&question().key, residence, asked).map(|answer| answer.question.threads)
    };
    assert_eq!(threads(8, Residence::Dram), Some(8));
    assert_eq!(threads(2, Residence::Dram), Some(1));
    assert_eq!(threads(64, Residence::Dram), Some(8));
    assert_eq!(threads(8, Residence::Cache), None);
}

#[test]
fn a_finished_answer_keeps_the_best_of_each_layout() {
    let names: Vec<String> = (1..=16).map(|unroll| format!("avx2-i2s.masked-1x1s1u{unroll}p0")).collect();
    let mut ranking: Vec<_> =
        names.iter().zip(1..).map(|(name, at)| (name.as_str(), f64::from(at))).collect();
    ranking.push(("avx512vnni-i2s.planes-4x1s4u2p2048", 99.0));
    let mut answer = answer("4096x4096-decode-tensor-a8", &ranking);
    choose::condense(&mut answer, 3);
    let kept: Vec<_> = answer.ranking.iter().map(|trial| trial.config.to_string()).collect();
    assert_eq!(kept, [&names[0], &names[1], &names[2], "avx512vnni-i2s.planes-4x1s4u2p2048"]);
    assert!(answer.ranking.iter().all(|trial| trial.ratio.all.is_empty()));
}

mod files {
    use super::*;

    fn caps() -> HardwareCaps {
        recorded::by_name("zen3").unwrap()
    }

    fn example() -> Vec<Answer> {
        let ranking = [("avx2-i2s.masked-2x1s2u15p2048", 1.0), ("avx2-i2s.masked-1x1s1u15p2048", 0.8)];
        vec![answer("4096x4096-decode-tensor-a8", &ranking), answer("64x96-prefill-row-a8", &ranking)]
    }

    #[test]
    fn answers_survive_the_file_and_merge() {
        let folder = tempfile::tempdir().unwrap();
        let file = TuningFile::new(&Store::at(folder.path()), &caps());
        assert!(file.load().unwrap().is_empty());
        file.merge(&example()).unwrap();
        let mut known = file.load().unwrap();
        assert_eq!(known.len(), 2);
        assert_eq!(known.remove(1), example()[0], "the smaller matrix comes first");
        // An unfinished answer does not take the place of a finished one; a finished one does.
        let worse = Answer { finished: false, gain: 9.0, ..example()[0].clone() };
        file.merge(std::slice::from_ref(&worse)).unwrap();
        assert_eq!(file.load().unwrap()[1], example()[0]);
        let better = Answer { finished: true, ..worse };
        file.merge(std::slice::from_ref(&better)).unwrap();
        assert_eq!(file.load().unwrap()[1], better);
        assert_eq!(file.forget(|answer| answer.question == better.question).unwrap(), 1);
        assert_eq!(file.load().unwrap().len(), 1);
        assert!(file.remove().unwrap() && !file.remove().unwrap());
    }

    #[test]
    fn a_file_for_another_machine_is_passed_over_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.json");
        TuningFile::at(&path, &caps()).merge(&example()).unwrap();
        let other = TuningFile::at(&path, &recorded::by_name("haswell").unwrap());
        assert!(other.load().unwrap().is_empty());
        let said = other.load_strictly().unwrap_err().to_string();
        assert!(said.contains("another machine: processor amd-"), "{said}");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"version\": 1", "\"version\": 99, \"novelty\": {}")).unwrap();
        assert!(TuningFile::at(&path, &caps()).load().unwrap().is_empty());
        let said = TuningFile::at(&path, &caps()).load_strictly().unwrap_err().to_string();
        assert!(said.contains("version 99"), "{said}");
    }

    #[test]
    fn hostile_content_is_named_with_file_entry_and_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.json");
        let file = TuningFile::at(&path, &caps());
        file.merge(&example()).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        let cases = [
            (
                "avx2-i2s.masked-1x1s1u15p2048",
                "sse9-i2s.masked-1x1s1u15p2048",
                "entry 0 (64x96-prefill-row-a8)",
            ),
            ("4096x4096-decode-tensor-a8", "4096x0-decode-tensor-a8", "entry 1 (4096x0-decode-tensor-a8)"),
            ("\"threads\": 2", "\"threads\": 0", "entry 0"),
            ("\"threads\": 2", "\"threads\": -1", "entry 0"),
            ("\"heuristic_seconds\": 0.001", "\"heuristic_seconds\": -1", "entry 0"),
            ("\"heuristic_seconds\": 0.001", "\"heuristic_seconds\": 1e999", "head"),
            ("\"count\": 9", "\"count\": 0", "entry 0"),
            ("\"residence\": \"dram\"", "\"residence\": \"tape\"", "entry 0"),
            ("\"format\": \"tuning\"", "\"format\": \"recipe\"", "head"),
            ("\"entries\": [", "\"entries\": {", "head"),
        ];
        for (from, to, place) in cases {
            assert!(good.contains(from), "{from}");
            std::fs::write(&path, good.replace(from, to)).unwrap();
            let said = file.load().unwrap_err().to_string();
            for part in ["answers.json", place, "kernelgen tune clear"] {
                assert!(said.contains(part), "{from} -> {to}: {said}");
            }
            assert!(file.merge(&example()).is_err(), "a file that is not understood is not written over");
        }
        for cut in (0..good.len() - 2).step_by(97) {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert!(file.load().is_err(), "{cut}");
        }
        std::fs::write(&path, "[".repeat(100_000)).unwrap();
        assert!(file.load().is_err());
    }

    #[test]
    fn processes_that_write_at_once_keep_each_others_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.json");
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                let path = &path;
                scope.spawn(move || {
                    // A file handle of its own, as another process has.
                    let file = TuningFile::at(path, &caps());
                    for m in 1..=5 {
                        let key = format!("{}x{m}-decode-tensor-a8", 100 * thread);
                        file.merge(&[answer(&key, &[("avx2-i2s.masked-1x1s1u15p2048", 1.0)])]).unwrap();
                    }
                });
            }
        });
        assert_eq!(TuningFile::at(&path, &caps()).load().unwrap().len(), 20);
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "the file and its lock: {left:?}");
    }
}

#[test]
fn a_real_question_is_answered_and_kept() {
    let caps = HardwareCaps::detect();
    let folder = tempfile::tempdir().unwrap();
    let file = TuningFile::new(&Store::at(folder.path()), &caps);
    let tuner = Tuner::new(caps, &file, None);
    for key in ["40x64-decode-tensor-a8", "40x64-prefill-row-a8"] {
        let question = Question { key: key.parse().unwrap(), residence: Residence::Cache, threads: 2 };
        let answer = tuner.answer(question, Duration::from_millis(50), &mut |_| ()).unwrap();
        assert!(answer.gain >= 1.0 && !answer.ranking.is_empty(), "{answer:?}");
        let known = file.load().unwrap();
        let known = known.iter().find(|known| known.question == question).unwrap();
        assert_eq!((known.choice, known.gain), (answer.choice, answer.gain));
    }
}

#[test]
fn a_compiler_takes_what_tuning_found() {
    let caps = HardwareCaps::detect();
    let key: KernelKey = "40x64-decode-tensor-a8".parse().unwrap();
    let scales = craftsman_golden::Scales::Tensor(0.5);
    let weights = craftsman_golden::TernaryMatrix::new(40, 64, vec![1; 40 * 64], scales).unwrap();
    let choice = |compiler: KernelCompiler| *compiler.linear(&weights).unwrap().kernel(1).config();
    let heuristic = choice(KernelCompiler::new(caps.clone()));
    let other = space::neighbours(&key, &heuristic)
        .into_iter()
        .find(|other| crate::verify_native(&key, other, &caps, 1).is_ok());
    // A name that parses and cannot be said here is passed over.
    let (other, nonsense) =
        (other.unwrap(), KernelConfig { tile: Tile { tokens: 7, ..heuristic.tile }, ..heuristic });
    let names = [heuristic, other, nonsense].map(|config| config.to_string());
    let found = answer("40x64-decode-tensor-a8", &[(&names[0], 1.0), (&names[1], 0.9), (&names[2], 0.8)]);
    let tuning = std::sync::Arc::new(Tuning::new(vec![found]));
    let compiler = || KernelCompiler::new(caps.clone()).with_tuning(std::sync::Arc::clone(&tuning));
    assert_eq!(choice(compiler().with_residence(Residence::Cache)), heuristic, "nothing is known about that");
    let tuned = choice(compiler().with_threads(2));
    assert!(tuned == other || tuned == nonsense, "{tuned}");
}
