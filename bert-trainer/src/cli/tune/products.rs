//! The products of a pre-training step, with operands.

use bert_kernels::ops::{self, Activation, Epilogue, Gemm};
use bert_kernels::{Buffer, Context, DType};

use crate::cli::bench::kernels::data::values;
use crate::config::Config;
use crate::tuning::{Pass, ProductKind};

/// A linear layer of every encoder layer.
pub(in crate::cli) struct LinearLayer {
    /// Its widths in letters.
    pub name: &'static str,
    /// Widths of input and output.
    pub widths: (usize, usize),
    /// What follows the forward product in training.
    pub ending: Ending,
}

/// The four linear layers of an encoder layer: projections, attention's output, both of the feed-forward
/// net.
pub(in crate::cli) fn linear_layers(config: &Config) -> [LinearLayer; 4] {
    let (h, f) = (config.hidden_size, config.intermediate_size);
    [
        LinearLayer { name: "H→3H", widths: (h, 3 * h), ending: Ending::Bias },
        LinearLayer { name: "H→H", widths: (h, h), ending: Ending::Bias },
        LinearLayer { name: "H→F", widths: (h, f), ending: Ending::Activation },
        LinearLayer { name: "F→H", widths: (f, h), ending: Ending::Bias },
    ]
}

/// What is done with a product before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Ending {
    Plain,
    Bias,
    /// A bias, and GELU, which keeps what was before.
    Activation,
}

/// A product of a step.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Product {
    /// Where it is from.
    pub layer: String,
    pub kind: ProductKind,
    pub dtype: DType,
    pub pass: Pass,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub c_dtype: DType,
    pub accumulate: bool,
    pub ending: Ending,
}

impl Product {
    /// A product of a linear layer from `inputs` to `outputs` over `rows`. The gradient of its weight is
    /// f32 and added to, as in training.
    pub fn of_linear(
        layer: String,
        dtype: DType,
        pass: Pass,
        rows: usize,
        (inputs, outputs): (usize, usize),
    ) -> Self {
        let (m, n, k) = match pass {
            Pass::Forward => (rows, outputs, inputs),
            Pass::Input => (rows, inputs, outputs),
            Pass::Weight => (outputs, inputs, rows),
        };
        let sums = pass == Pass::Weight;
        let c_dtype = if sums { DType::F32 } else { dtype };
        let ending = if pass == Pass::Forward { Ending::Bias } else { Ending::Plain };
        let kind = ProductKind::Linear;
        Self { layer, kind, dtype, pass, m, n, k, c_dtype, accumulate: sums, ending }
    }

    /// The products of pre-training with `tokens` of which `masked` are predicted, each once: those of the
    /// encoder layers, of the head's transform, and of its decoder, which works on chunks of the words.
    pub fn of_pretraining(
        ctx: &Context,
        name: &str,
        config: &Config,
        dtype: DType,
        tokens: usize,
        masked: usize,
    ) -> Vec<Self> {
        let mut products = Vec::new();
        for layer in linear_layers(config) {
            for pass in Pass::ALL {
                let label = format!("{name} {}", layer.name);
                let product = Self::of_linear(label, dtype, pass, tokens, layer.widths);
                let is_forward = pass == Pass::Forward;
                let ending = if is_forward { layer.ending } else { product.ending };
                products.push(Self { ending, ..product });
            }
        }
        let hidden = config.hidden_size;
        for pass in Pass::ALL {
            let label = format!("{name} transform");
            products.push(Self::of_linear(label, dtype, pass, masked, (hidden, hidden)));
        }
        let words = ops::linear_cross_entropy_chunk(ctx, masked, config.vocab_size);
        for pass in Pass::ALL {
            let label = format!("{name} decoder");
            let product = Self::of_linear(label, dtype, pass, masked, (hidden, words));
            // Logits and the sums of gradients over the chunks are f32 too.
            products.push(Self {
                kind: ProductKind::Decoder,
                c_dtype: DType::F32,
                accumulate: pass != Pass::Forward,
                ..product
            });
        }
        products
    }

    /// Whether a block for one is a block for the other.
    pub fn has_sizes_of(&self, other: &Self) -> bool {
        let key = |product: &Self| (product.kind, product.pass, product.m, product.n, product.k);
        key(self) == key(other)
    }

    /// Multiplications and additions.
    pub fn flops(&self) -> f64 {
        2.0 * (self.m * self.n) as f64 * self.k as f64
    }

    /// Bytes that any implementation has to read and write; a bias is not counted.
    pub fn bytes(&self) -> f64 {
        let Self { m, n, k, .. } = *self;
        let times = if self.accumulate || self.ending == Ending::Activation { 2 } else { 1 };
        let of_c = times * m * n * self.c_dtype.size_bytes();
        ((m * k + k * n) * self.dtype.size_bytes() + of_c) as f64
    }

    /// Operands with random values.
    pub fn operands(&self, ctx: &Context) -> Operands {
        let Self { m, n, k, dtype, c_dtype, ending, .. } = *self;
        Operands {
            a: values(ctx, dtype, m * k),
            b: values(ctx, dtype, k * n),
            c: ctx.zeros(c_dtype, m * n),
            bias: (ending != Ending::Plain).then(|| values(ctx, DType::F32, n)),
            pre: (ending == Ending::Activation).then(|| ctx.empty(c_dtype, m * n)),
            product: self.clone(),
        }
    }
}

/// What a product is of.
pub(in crate::cli) struct Operands {
    a: Buffer,
    b: Buffer,
    c: Buffer,
    bias: Option<Buffer>,
    pre: Option<Buffer>,
    product: Product,
}

impl Operands {
    pub fn gemm(&self) -> Gemm<'_> {
        let Product { m, n, k, pass, accumulate, .. } = self.product;
        let epilogue = match (&self.bias, &self.pre) {
            (Some(bias), Some(pre)) => {
                Epilogue::BiasActivation { bias, activation: Activation::Gelu, pre }
            }
            (Some(bias), None) => Epilogue::Bias(bias),
            (None, _) => Epilogue::None,
        };
        let (a, b, c) = (&self.a, &self.b, &self.c);
        Gemm { a, b, c, m, n, k, transpose: pass.transpose(), accumulate, epilogue }
    }
}
