//! The flat buffers: parameters, gradients, moments, and the low-precision copy.

use bert_kernels::{Buffer, Context, DType, KernelError, ops};

use super::parameters::ParameterTable;
use super::rounding::{self, Matrices};

/// In which type products are computed. Master weights, gradients and statistics are always f32.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Everything in f32.
    #[default]
    F32,
    /// Activations and the weights that enter products in bfloat16.
    Bf16,
    /// The same in half precision, with the loss scaled so that small gradients do not vanish.
    F16,
}

impl Precision {
    /// The element type of activations.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::Bf16,
            Self::F16 => DType::F16,
        }
    }
}

/// One buffer for each kind of state, all with the layout of a [`ParameterTable`].
pub(super) struct FlatBuffers {
    pub table: ParameterTable,
    pub param: Buffer,
    pub grad: Buffer,
    /// The 16-bit copy of `param` that products read, where the precision asks for one.
    pub low: Option<Buffer>,
    /// The copy of `param` whose matrices are rounded as a device rounds them, if training minds it.
    rounded: Option<Rounded>,
}

struct Rounded {
    values: Buffer,
    matrices: Vec<Matrices>,
}

impl FlatBuffers {
    pub fn new(
        ctx: &Context,
        table: ParameterTable,
        values: &[f32],
        precision: Precision,
        quantize_aware: bool,
    ) -> Result<Self, KernelError> {
        let param = ctx.upload_f32(values);
        let grad = ctx.zeros(DType::F32, table.len());
        let low = match precision {
            Precision::F32 => None,
            Precision::Bf16 | Precision::F16 => {
                let low = ctx.empty(precision.dtype(), table.len());
                ops::cast(ctx, &param, &low)?;
                Some(low)
            }
        };
        let rounded = quantize_aware.then(|| Rounded {
            values: ctx.zeros(DType::F32, table.len()),
            matrices: rounding::matrices(&table),
        });
        let flat = Self { table, param, grad, low, rounded };
        flat.refresh(ctx)?;
        Ok(flat)
    }

    /// Rounds the parameters anew, where that is asked for.
    pub fn refresh(&self, ctx: &Context) -> Result<(), KernelError> {
        match &self.rounded {
            Some(Rounded { values, matrices }) => {
                rounding::refresh(ctx, matrices, &self.param, values)
            }
            None => Ok(()),
        }
    }

    /// Whether what enters the layer of this name is rounded.
    pub fn rounds(&self, name: &str) -> bool {
        self.rounded.is_some() && rounding::rounds(name)
    }

    /// Neighbouring tensors as one slice of the f32 parameters.
    pub fn master(&self, names: &[String]) -> Buffer {
        self.param.slice(self.range(names))
    }

    /// Neighbouring tensors as one slice of the parameters in the type that products compute in.
    pub fn compute(&self, names: &[String]) -> Buffer {
        let rounded = self.rounded.as_ref().map(|rounded| &rounded.values);
        rounded.or(self.low.as_ref()).unwrap_or(&self.param).slice(self.range(names))
    }

    /// Neighbouring tensors as one slice of the gradients.
    pub fn gradient(&self, names: &[String]) -> Buffer {
        self.grad.slice(self.range(names))
    }

    /// Where the first tensor whose name begins like this lies.
    pub fn start(&self, prefix: &str) -> usize {
        let mut tensors = self.table.parameters().iter();
        let first = tensors.find(|parameter| parameter.name.starts_with(prefix));
        first.map_or_else(|| panic!("the parameter table has no {prefix}"), |first| first.offset)
    }

    fn range(&self, names: &[String]) -> std::ops::Range<usize> {
        let mut range: Option<std::ops::Range<usize>> = None;
        for name in names {
            let found = self.table.find(name).unwrap_or_else(|| {
                // The table and the modules are written for the same config and head.
                panic!("the parameter table lacks {name}")
            });
            range = Some(match range {
                None => found.range(),
                Some(before) => {
                    assert_eq!(before.end, found.offset, "{name} does not follow its neighbour");
                    before.start..found.range().end
                }
            });
        }
        range.unwrap_or(0..0)
    }
}
