//! stub
use super::Results;
pub fn table(r: &Results) -> String {
    r.runs.iter().map(|r| format!("{r:?}\n")).collect()
}
