//! Placeholder until the contracts module is merged.
use crate::json::Value;
/// s
#[derive(Debug)]
pub struct Schema([u8; 32]);
impl Schema {
    /// c
    pub fn compile(d: &[u8]) -> Result<Schema, String> {
        use sha2::Digest;
        Ok(Schema(sha2::Sha256::digest(d).into()))
    }
    /// d
    pub fn digest(&self) -> [u8; 32] {
        self.0
    }
    /// v
    pub fn validate(&self, _v: &Value<'_>) -> Result<(), String> {
        Ok(())
    }
}
