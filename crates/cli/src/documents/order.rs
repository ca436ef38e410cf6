//! The order in which documents can be applied: kinds after the kinds they refer to,
//! and a metric or KPI after those of its own kind that it refers to.

use std::collections::BTreeMap;

use super::{Document, Spec};

/// Orders documents; those that nothing orders stay as they were.
pub fn in_order(mut documents: Vec<Document>) -> Vec<Document> {
    documents.sort_by_key(|document| document.kind);
    let places: BTreeMap<_, usize> = documents
        .iter()
        .enumerate()
        .map(|(place, document)| ((document.kind, document.name.clone()), place))
        .collect();
    let before: Vec<Vec<usize>> = documents
        .iter()
        .map(|document| {
            let names = refers_to(&document.spec);
            names
                .into_iter()
                .filter_map(|name| places.get(&(document.kind, name)).copied())
                .collect()
        })
        .collect();
    let mut order = Vec::with_capacity(documents.len());
    let mut placed = vec![false; documents.len()];
    for place in 0..documents.len() {
        visit(place, &before, &mut placed, &mut order);
    }
    let mut slots: Vec<Option<Document>> = documents.into_iter().map(Some).collect();
    order.into_iter().filter_map(|place| slots[place].take()).collect()
}

/// Places what a document refers to, then the document. In a circle, which the
/// service refuses, whichever was met first comes last.
fn visit(place: usize, before: &[Vec<usize>], placed: &mut [bool], order: &mut Vec<usize>) {
    if !std::mem::replace(&mut placed[place], true) {
        for other in &before[place] {
            visit(*other, before, placed, order);
        }
        order.push(place);
    }
}

/// Names of the documents of the same kind that a document refers to.
fn refers_to(spec: &Spec) -> Vec<String> {
    match spec {
        Spec::Metric(metric) => {
            metric.parts().into_iter().map(|(_, part)| part.metric.clone()).collect()
        }
        Spec::Kpi(kpi) => kpi.drives.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_referred_to_comes_first() {
        let text = "\
kind: Metric
metadata: {name: growth}
spec: {definition: {type: derived, expression: a, inputs: [{metric: rate, alias: a}]}}
---
kind: Metric
metadata: {name: rate}
spec: {definition: {type: ratio, numerator: paid, denominator: elsewhere}}
---
kind: Pillar
metadata: {name: sales}
spec: {}
---
kind: Metric
metadata: {name: paid}
spec: {definition: {type: count, event: Paid}}
";
        let ordered = in_order(Document::read_all(text, "text").unwrap());
        let names: Vec<_> = ordered.iter().map(|document| document.name.as_str()).collect();
        assert_eq!(names, ["sales", "paid", "rate", "growth"]);
    }
}
