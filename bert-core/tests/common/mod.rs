//! Random small models, and their forward pass in f64.
#![allow(dead_code)]

pub mod hostile;

use bert_core::format::{
    EmbeddingWeights, HeadWeights, LayerWeights, Layout, LinearWeights, ModelBuilder, NormWeights,
    Part, WordEncoding,
};
use bert_core::tokenizer::TokenizerConfig;
use bert_core::{Activation, Pooling};

/// SplitMix64: the n-th draw of a seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Sum of four uniforms: near normal with standard deviation `scale`.
    pub fn normal(&mut self, scale: f32) -> f32 {
        let mut sum = 0.0f64;
        for _ in 0..4 {
            sum += (self.next() >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
        }
        (sum * 3f64.sqrt()) as f32 * scale
    }

    pub fn normals(&mut self, n: usize, scale: f32, offset: f32) -> Vec<f32> {
        (0..n).map(|_| self.normal(scale) + offset).collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadKind {
    Classify,
    Tag,
    Joint,
    PairClassify,
    Regress,
    Span,
    Embed(Pooling),
    MultiLabel,
}

impl HeadKind {
    pub const ALL: [HeadKind; 9] = [
        HeadKind::Classify,
        HeadKind::Tag,
        HeadKind::Joint,
        HeadKind::PairClassify,
        HeadKind::Regress,
        HeadKind::Span,
        HeadKind::Embed(Pooling::Mean),
        HeadKind::Embed(Pooling::First),
        HeadKind::MultiLabel,
    ];
}

#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub feed_forward: usize,
    pub vocabulary: usize,
    pub max_length: usize,
    pub labels: usize,
    pub tags: usize,
    pub head: HeadKind,
    pub activation: Activation,
    pub pooler: bool,
}

impl Sizes {
    pub const SMALL: Sizes = Sizes {
        layers: 2,
        hidden: 32,
        heads: 4,
        feed_forward: 64,
        vocabulary: 64,
        max_length: 24,
        labels: 5,
        tags: 7,
        head: HeadKind::Joint,
        activation: Activation::Gelu,
        pooler: true,
    };
    pub const BERT_TINY: Sizes = Sizes {
        layers: 2,
        hidden: 128,
        heads: 2,
        feed_forward: 512,
        vocabulary: 8000,
        max_length: 64,
        labels: 7,
        tags: 16,
        head: HeadKind::Joint,
        activation: Activation::Gelu,
        pooler: true,
    };
}

pub struct Linear {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

pub struct Norm {
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
}

pub struct Layer {
    pub qkv: [Linear; 3],
    pub attention_output: Linear,
    pub attention_norm: Norm,
    pub feed_forward_in: Linear,
    pub feed_forward_out: Linear,
    pub feed_forward_norm: Norm,
}

/// A float model with random weights.
pub struct FloatModel {
    pub sizes: Sizes,
    pub pieces: Vec<String>,
    pub word: Vec<f32>,
    pub position: Vec<f32>,
    pub segment: Vec<f32>,
    pub norm: Norm,
    pub layers: Vec<Layer>,
    pub pooler: Linear,
    pub classifier: Linear,
    pub tagger: Linear,
    pub spans: Linear,
    pub labels: Vec<String>,
    pub tags: Vec<String>,
}

/// The special tokens, letters and their continuations, then made-up words.
pub fn pieces(count: usize) -> Vec<String> {
    let mut pieces: Vec<String> =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(String::from).to_vec();
    pieces.extend((b'a'..=b'z').map(|c| (c as char).to_string()));
    pieces.extend((b'a'..=b'z').map(|c| format!("##{}", c as char)));
    let mut n = 0usize;
    while pieces.len() < count {
        let letter = |k: usize| (b'a' + (k % 26) as u8) as char;
        let word: String = [letter(n), letter(n / 26), letter(n / 676), 'x'].iter().collect();
        pieces.push(word);
        n += 1;
    }
    pieces.truncate(count);
    pieces
}

impl FloatModel {
    pub fn random(sizes: Sizes, seed: u64) -> Self {
        let mut r = Random(seed);
        let h = sizes.hidden;
        let linear = |r: &mut Random, n: usize, k: usize| Linear {
            weight: r.normals(n * k, 1.0 / (k as f32).sqrt(), 0.0),
            bias: r.normals(n, 0.1, 0.0),
        };
        let norm =
            |r: &mut Random| Norm { gamma: r.normals(h, 0.1, 1.0), beta: r.normals(h, 0.1, 0.0) };
        let layer = |r: &mut Random| Layer {
            qkv: [linear(r, h, h), linear(r, h, h), linear(r, h, h)],
            attention_output: linear(r, h, h),
            attention_norm: norm(r),
            feed_forward_in: linear(r, sizes.feed_forward, h),
            feed_forward_out: linear(r, h, sizes.feed_forward),
            feed_forward_norm: norm(r),
        };
        FloatModel {
            pieces: pieces(sizes.vocabulary),
            word: r.normals(sizes.vocabulary * h, 1.0, 0.0),
            position: r.normals(sizes.max_length * h, 0.5, 0.0),
            segment: r.normals(2 * h, 0.2, 0.0),
            norm: norm(&mut r),
            layers: (0..sizes.layers).map(|_| layer(&mut r)).collect(),
            pooler: linear(&mut r, h, h),
            classifier: linear(&mut r, sizes.labels, h),
            tagger: linear(&mut r, sizes.tags, h),
            spans: linear(&mut r, 2, h),
            labels: (0..sizes.labels).map(|i| format!("label {i}")).collect(),
            tags: (0..sizes.tags).map(|i| format!("B-tag{i}")).collect(),
            sizes,
        }
    }

    pub fn builder<'a>(&'a self, self_test_texts: &'a [&'a str]) -> ModelBuilder<'a> {
        let s = self.sizes;
        let linear = |l: &'a Linear| LinearWeights { weight: &l.weight, bias: &l.bias };
        let norm = |n: &'a Norm| NormWeights { gamma: &n.gamma, beta: &n.beta };
        let (classifier, tagger) = (linear(&self.classifier), linear(&self.tagger));
        let (labels, tags) = (&self.labels[..], &self.tags[..]);
        ModelBuilder {
            hidden: s.hidden,
            heads: s.heads,
            feed_forward: s.feed_forward,
            max_length: s.max_length,
            activation: s.activation,
            epsilon: 1e-12,
            tokenizer: TokenizerConfig {
                lower_case: true,
                strip_accents: true,
                split_chinese: true,
                max_word_chars: 100,
            },
            vocabulary: &self.pieces,
            embeddings: EmbeddingWeights {
                word: &self.word,
                position: &self.position,
                segment: &self.segment,
                norm: norm(&self.norm),
            },
            layers: self
                .layers
                .iter()
                .map(|l| LayerWeights {
                    query: linear(&l.qkv[0]),
                    key: linear(&l.qkv[1]),
                    value: linear(&l.qkv[2]),
                    attention_output: linear(&l.attention_output),
                    attention_norm: norm(&l.attention_norm),
                    feed_forward_in: linear(&l.feed_forward_in),
                    feed_forward_out: linear(&l.feed_forward_out),
                    feed_forward_norm: norm(&l.feed_forward_norm),
                })
                .collect(),
            pooler: s.pooler.then(|| linear(&self.pooler)),
            layout: Layout::default(),
            words: WordEncoding::default(),
            halves: &[],
            head: match s.head {
                HeadKind::Classify => HeadWeights::Classify { classifier, labels },
                HeadKind::Tag => HeadWeights::Tag { tagger, tags },
                HeadKind::Joint => HeadWeights::Joint { classifier, labels, tagger, tags },
                HeadKind::PairClassify => HeadWeights::PairClassify { classifier, labels },
                HeadKind::Regress => HeadWeights::Regress { regressor: classifier },
                HeadKind::Span => HeadWeights::Span { spans: linear(&self.spans) },
                HeadKind::Embed(pooling) => HeadWeights::Embed { pooling },
                HeadKind::MultiLabel => HeadWeights::MultiLabel { classifier, labels },
            },
            self_test_texts,
        }
    }

    pub fn build(&self) -> Vec<u8> {
        self.build_with(Layout::default())
    }

    pub fn build_with(&self, layout: Layout) -> Vec<u8> {
        self.build_as(layout, WordEncoding::Int8)
    }

    pub fn build_as(&self, layout: Layout, words: WordEncoding) -> Vec<u8> {
        let texts = ["abc def", "x yz aaax baax", ""];
        ModelBuilder { layout, words, ..self.builder(&texts) }.build().unwrap()
    }

    /// With the matrices of some parts in f16.
    pub fn build_keeping(&self, halves: &[Part]) -> Vec<u8> {
        let texts = ["abc def", "x yz aaax baax", ""];
        ModelBuilder { halves, ..self.builder(&texts) }.build().unwrap()
    }

    /// The forward pass in f64.
    pub fn reference(&self, ids: &[u32], segments: &[u32]) -> Reference {
        let s = self.sizes;
        let (h, d) = (s.hidden, s.hidden / s.heads);
        let mut x: Vec<Vec<f64>> = Vec::new();
        for (t, &id) in ids.iter().enumerate() {
            let segment = segments.get(t).copied().unwrap_or(0) as usize;
            let row = (0..h)
                .map(|i| {
                    self.word[id as usize * h + i] as f64
                        + self.position[t * h + i] as f64
                        + self.segment[segment * h + i] as f64
                })
                .collect::<Vec<f64>>();
            x.push(layer_norm(&row, &self.norm));
        }
        let mut layers = vec![x.clone()];
        for layer in &self.layers {
            let project =
                |l: &Linear, x: &[Vec<f64>]| x.iter().map(|row| linear(row, l)).collect::<Vec<_>>();
            let [q, k, v] = [0, 1, 2].map(|i| project(&layer.qkv[i], &x));
            let mut next = Vec::new();
            for (t, row) in x.iter().enumerate() {
                let mut context = vec![0.0; h];
                for head in 0..s.heads {
                    let columns = head * d..(head + 1) * d;
                    let scores: Vec<f64> = k
                        .iter()
                        .map(|k| {
                            let dot: f64 = columns.clone().map(|c| q[t][c] * k[c]).sum();
                            dot / (d as f64).sqrt()
                        })
                        .collect();
                    for (p, v) in softmax(&scores).iter().zip(&v) {
                        for c in columns.clone() {
                            context[c] += p * v[c];
                        }
                    }
                }
                let a = add(&linear(&context, &layer.attention_output), row);
                let a = layer_norm(&a, &layer.attention_norm);
                let mut wide = linear(&a, &layer.feed_forward_in);
                wide.iter_mut().for_each(|v| *v = activate(*v, s.activation));
                let y = add(&linear(&wide, &layer.feed_forward_out), &a);
                next.push(layer_norm(&y, &layer.feed_forward_norm));
            }
            layers.push(next.clone());
            x = next;
        }
        let mut pooled = x[0].clone();
        if s.pooler {
            pooled = linear(&pooled, &self.pooler).iter().map(|v| v.tanh()).collect();
        }
        Reference {
            labels: linear(&pooled, &self.classifier),
            tags: x.iter().map(|row| linear(row, &self.tagger)).collect(),
            spans: x.iter().map(|row| linear(row, &self.spans)).collect(),
            hidden: x,
            layers,
        }
    }
}

pub struct Reference {
    /// Rows of the last layer.
    pub hidden: Vec<Vec<f64>>,
    /// Rows of every layer; 0 is the embeddings.
    pub layers: Vec<Vec<Vec<f64>>>,
    /// Logits of the labels, or the numbers of a regression.
    pub labels: Vec<f64>,
    /// Logits of the tags and of a span's start and end, by token.
    pub tags: Vec<Vec<f64>>,
    pub spans: Vec<Vec<f64>>,
}

fn linear(x: &[f64], l: &Linear) -> Vec<f64> {
    let rows = l.weight.chunks_exact(x.len()).zip(&l.bias);
    rows.map(|(w, b)| w.iter().zip(x).map(|(w, x)| *w as f64 * x).sum::<f64>() + *b as f64)
        .collect()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn layer_norm(x: &[f64], norm: &Norm) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let rstd = 1.0 / (variance + 1e-12).sqrt();
    let parameters = norm.gamma.iter().zip(&norm.beta);
    x.iter().zip(parameters).map(|(v, (g, b))| (v - mean) * rstd * *g as f64 + *b as f64).collect()
}

fn activate(x: f64, activation: Activation) -> f64 {
    match activation {
        Activation::Gelu => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
    }
}

pub fn softmax(x: &[f64]) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::MIN, f64::max);
    let exps: Vec<f64> = x.iter().map(|v| (v - largest).exp()).collect();
    let total: f64 = exps.iter().sum();
    exps.iter().map(|v| v / total).collect()
}
