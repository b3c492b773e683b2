//! What a pre-training tells its report beside `metrics.jsonl`: options, corpus, unigram loss, times.

use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{PretrainPaths, PretrainPlan};
use crate::config::Config;
use crate::data::PretrainData;
use crate::model::{Head, ParameterTable, Precision};
use crate::report::{DataFile, ReportError, RunRecord, model_numbers};

/// The record of a run in progress.
#[derive(Debug)]
pub(super) struct Recorder {
    record: RunRecord,
    /// Seconds of the processes before this one.
    before: f64,
    start: Instant,
}

impl Recorder {
    /// Begins the record of a run that has done `step` steps. A resumed run keeps the times of the
    /// processes before it; what they recorded of all else is said anew.
    pub fn open(
        plan: &PretrainPlan,
        paths: &PretrainPaths,
        config: &Config,
        precision: Precision,
        data: &PretrainData,
        step: u64,
        world_size: usize,
    ) -> Self {
        let options = options(plan, paths, precision, world_size);
        let mut record = RunRecord::begin("pretrain", "pretrain", &options);
        let manifest = data.shards().manifest();
        record.model = model_numbers(config);
        let table = ParameterTable::new(config, &Head::Pretraining);
        record.parameters = table.parameter_count() as u64;
        record.unigram_loss = Some(manifest.unigram_entropy);
        let file_name = |path: &str| {
            let name = Path::new(path).file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let sources = manifest.sources.iter().map(|source| DataFile {
            role: "corpus".to_owned(),
            file: file_name(&source.path),
            sha256: source.sha256.clone(),
            examples: source.sentences,
        });
        record.data = sources.collect();
        // A record is no condition of a run: one that cannot be read is begun anew.
        let earlier = (step > 0).then(|| RunRecord::read(&paths.output).ok().flatten()).flatten();
        let mut before = 0.0;
        if let Some(earlier) = earlier {
            record.started = earlier.started.or(record.started);
            record.ended = earlier.ended;
            before = earlier.seconds;
        }
        Self { record, before, start: Instant::now() }
    }

    /// Writes the record as it is now; `is_last` says that the run has ended.
    pub fn write(&mut self, output: &Path, is_last: bool) -> Result<(), ReportError> {
        self.record.seconds = self.before + self.start.elapsed().as_secs_f64();
        self.record.ended = self.record.ended.or_else(|| is_last.then(Timestamp::now));
        self.record.write(output)
    }
}

/// Plan, places, precision and number of processes under the names of the command line.
fn options(
    plan: &PretrainPlan,
    paths: &PretrainPaths,
    precision: Precision,
    world_size: usize,
) -> Value {
    let path = |path: &Path| json!(path.display().to_string());
    let mut options = Map::new();
    options.insert("data".into(), path(&paths.data));
    if let Some(model) = &paths.model {
        options.insert("model".into(), path(model));
    }
    options.insert("output".into(), path(&paths.output));
    if let Ok(Value::Object(plan)) = serde_json::to_value(plan) {
        options.extend(plan);
    }
    options.insert("precision".into(), json!(format!("{precision:?}").to_lowercase()));
    if world_size > 1 {
        options.insert("processes".into(), json!(world_size));
    }
    Value::Object(options)
}
