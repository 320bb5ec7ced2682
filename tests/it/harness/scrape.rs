//! A scrape of `/metrics`, read.

/// The text exposition and its samples.
pub(crate) struct Scrape {
    text: String,
    samples: Vec<Sample>,
}

struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Scrape {
    pub(crate) fn read(text: String) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(Sample::read).collect();
        Self { text, samples }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The sum of the series of `name` that have these labels, if there is any.
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| {
                    let mut own = sample.labels.iter();
                    own.any(|(l, v)| l == label && v == value)
                })
        };
        let values: Vec<f64> = self.samples.iter().filter(has).map(|s| s.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The upper bounds of the buckets of `histogram`, ascending.
    pub(crate) fn bounds(&self, histogram: &str) -> Vec<String> {
        let name = format!("{histogram}_bucket");
        let buckets = self.samples.iter().filter(|sample| sample.name == name);
        let bound = |sample: &Sample| {
            let label = sample.labels.iter().find(|(label, _)| label == "le");
            label.map(|(_, bound)| bound.clone())
        };
        let mut bounds: Vec<String> = buckets.filter_map(bound).collect();
        bounds.dedup();
        bounds
    }

    /// [`Self::find`] for series that must be there.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.find(name, labels);
        found.unwrap_or_else(|| panic!("no series {name} {labels:?} in\n{}", self.text))
    }
}

impl Sample {
    /// Reads `name{label="value",…} 1`; label values of doorbell's hold no quotes or commas.
    fn read(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split(',');
        let label = |pair: &str| {
            let (label, value) = pair.split_once('=')?;
            Some((label.to_owned(), value.trim_matches('"').to_owned()))
        };
        Some(Self {
            name: name.to_owned(),
            labels: labels.filter_map(label).collect(),
            value: value.parse().ok()?,
        })
    }
}
