// SPDX-License-Identifier: MIT OR Apache-2.0
//! "Did you mean": the nearest of the names that exist.

/// Advice for a name that is not among `names`.
pub(crate) fn instead<'n>(
    wanted: &str,
    names: impl IntoIterator<Item = &'n str> + Clone,
) -> String {
    if let Some(name) = nearest(wanted, names.clone()) {
        return format!("did you mean `{name}`?");
    }
    let names: Vec<&str> = names.into_iter().take(12).collect();
    if names.is_empty() {
        return "there are none yet".to_owned();
    }
    format!("there is {}", names.join(", "))
}

fn nearest<'n>(wanted: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let near = names.into_iter().map(|name| (distance(wanted, name), name)).min()?;
    let tolerable = (wanted.chars().count() / 3).clamp(1, 4);
    (near.0 <= tolerable).then_some(near.1)
}

/// Levenshtein's distance of the first 128 characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(128).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().take(128).enumerate() {
        let mut diagonal = i;
        let mut previous = i + 1;
        let mut next = vec![previous];
        for (right, above) in b.iter().zip(row.iter().skip(1)) {
            let change = diagonal + usize::from(left != *right);
            diagonal = *above;
            previous = change.min(above + 1).min(previous + 1);
            next.push(previous);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered() {
        let names = ["orders.created", "payout.approve"];
        assert_eq!(instead("order.created", names), "did you mean `orders.created`?");
        assert_eq!(instead("orders.craeted", names), "did you mean `orders.created`?");
        assert_eq!(instead("xyz", names), "there is orders.created, payout.approve");
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
