//! `worker-tract MODEL.onnx`: tract, with a plan for each number of tokens, made when it comes up.

use std::collections::HashMap;

use anyhow::Result;
use tract_onnx::prelude::*;

fn main() -> Result<()> {
    let path = protocol::argument(1, "an ONNX file")?;
    let plan_for = |tokens: usize| {
        let mut model = tract_onnx::onnx().model_for_path(&path)?;
        for input in 0..2 {
            let fact = InferenceFact::dt_shape(i64::datum_type(), tvec!(1, tokens));
            model = model.with_input_fact(input, fact)?;
        }
        model.into_optimized()?.into_runnable()
    };
    let mut plans = HashMap::new();
    protocol::serve("", |ids, rows| {
        let tokens = ids.len();
        if !plans.contains_key(&tokens) {
            plans.insert(tokens, plan_for(tokens)?);
        }
        let tensor = |of: fn(u32) -> i64| -> TractResult<TValue> {
            let values: Vec<i64> = ids.iter().map(|&id| of(id)).collect();
            Ok(Tensor::from_shape(&[1, tokens], &values)?.into())
        };
        let given = tvec!(tensor(i64::from)?, tensor(|_| 0)?);
        let outputs = plans[&tokens].run(given)?;
        let hidden = outputs[0].clone().into_tensor();
        rows.extend(hidden.to_plain_array_view::<f32>()?.iter());
        Ok(())
    })
}
