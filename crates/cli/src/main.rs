// SPDX-License-Identifier: MIT OR Apache-2.0
//! temp
mod demo;
#[tokio::main]
async fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().map(String::as_str) == Some("demo-worker") {
        let get = |n: &str| args.iter().position(|a| a == n).and_then(|i| args.get(i + 1)).cloned();
        let t = demo::trap(get("--abort"), get("--pause").zip(get("--marker").map(Into::into)));
        let r = demo::work(std::path::Path::new(&get("--dir").unwrap_or_default()), t).await;
        if let Err(e) = r {
            eprintln!("{e}");
            return 1.into();
        }
        return 0.into();
    }
    let dir = tempfile::tempdir().unwrap();
    match demo::run(dir.path(), &|l| eprintln!("{l}")).await {
        Ok(v) => {
            println!("{}", v.table());
            (!v.good() as u8).into()
        }
        Err(e) => {
            eprintln!("{e}");
            2.into()
        }
    }
}
