//! Questions: every combination of goal, circumstance and form of the question has a number, so distinct numbers give
//! distinct prompts.

use super::topics::{CIRCUMSTANCES, QUESTIONS, TOPICS, Topic};

/// The number of prompts.
pub(super) fn distinct_prompts() -> usize {
    let goals: usize = TOPICS.iter().map(|topic| topic.goals.len()).sum();
    goals * CIRCUMSTANCES.len() * QUESTIONS.len()
}

/// The prompt of a number below [`distinct_prompts`], with its topic; `None` for a greater number.
pub(super) fn prompt(number: usize) -> Option<(&'static Topic, String)> {
    let question = QUESTIONS.get(number % QUESTIONS.len())?;
    let rest = number / QUESTIONS.len();
    let circumstance = CIRCUMSTANCES.get(rest % CIRCUMSTANCES.len())?;
    let mut position = rest / CIRCUMSTANCES.len();
    for topic in TOPICS {
        match topic.goals.get(position) {
            Some(goal) => {
                return Some((topic, question.replace("{goal}", goal).replace("{circumstance}", circumstance)));
            }
            None => position -= topic.goals.len(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_number_has_a_distinct_prompt() {
        let all: HashSet<String> = (0..distinct_prompts()).map(|n| prompt(n).unwrap().1).collect();
        assert_eq!(all.len(), distinct_prompts());
        assert!(all.iter().all(|text| !text.contains(['{', '}'])));
        assert!(prompt(distinct_prompts()).is_none());
    }
}
