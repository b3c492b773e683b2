//! Figures by name, in the order in which they were given.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value};

/// Metrics by name: `accuracy`, `slot_f1`, `mlm_loss`, …, each a finite number.
///
/// The first is the one to look at first.
/// In JSON they are one object; a value that is no finite number is an error in both directions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// The metric of this name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a metric at the end, or replaces the one of this name where it stands.
    pub fn insert(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }
}

impl<N: Into<String>> FromIterator<(N, f64)> for Metrics {
    fn from_iter<I: IntoIterator<Item = (N, f64)>>(pairs: I) -> Self {
        let mut metrics = Self::default();
        pairs.into_iter().for_each(|(name, value)| metrics.insert(name, value));
        metrics
    }
}

/// The numbers of a JSON object; what is no number is left out.
impl From<&Map<String, Value>> for Metrics {
    fn from(map: &Map<String, Value>) -> Self {
        map.iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect()
    }
}

impl Serialize for Metrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = Map::new();
        for (name, value) in self.iter() {
            let number = Number::from_f64(value);
            let number = number.ok_or_else(|| S::Error::custom(format!("`{name}` is {value}")))?;
            map.insert(name.to_owned(), Value::Number(number));
        }
        map.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::<String, Value>::deserialize(deserializer)?;
        let number = |(name, value): (String, Value)| match value.as_f64() {
            Some(number) if number.is_finite() => Ok((name, number)),
            _ => Err(D::Error::custom(format!("`{name}` is {value}, expected a finite number"))),
        };
        map.into_iter().map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn order_survives_and_what_is_no_number_is_refused() {
        let text = r#"{"slot_f1":0.5,"accuracy":1.0,"a":-2e-300}"#;
        let metrics: Metrics = serde_json::from_str(text).unwrap();
        assert_eq!(metrics.iter().next(), Some(("slot_f1", 0.5)));
        assert_eq!(serde_json::to_string(&metrics).unwrap(), text);
        for bad in [r#"{"f1":null}"#, r#"{"f1":"1"}"#, r#"{"f1":1e999}"#, "[1]"] {
            assert!(serde_json::from_str::<Metrics>(bad).is_err(), "{bad}");
        }
        let metrics: Metrics = [("loss", f64::NAN)].into_iter().collect();
        let message = serde_json::to_string(&metrics).unwrap_err().to_string();
        assert!(message.contains("`loss` is NaN"), "{message}");
    }
}
