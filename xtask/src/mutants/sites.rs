// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a source file makes a `Refusal`, and how each place can be switched off.

use std::collections::BTreeSet;
use std::ops::Range;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// One place that refuses.
#[derive(Debug)]
pub(crate) struct Site {
    /// The function it is in.
    pub(crate) function: String,
    /// The check as it is written, or the refusal where no check can be named.
    pub(crate) text: String,
    /// The place in the file; sites are told in this order.
    pub(crate) at: usize,
    /// How to switch it off; `None` if there is nothing to go on with.
    pub(crate) switch: Option<Switch>,
}

/// What to write around a range of bytes.
#[derive(Debug)]
pub(crate) struct Switch {
    pub(crate) range: Range<usize>,
    pub(crate) form: Form,
}

/// How an expression is rewritten, `off` being this site's switch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// `off || (…)`: a condition that must hold.
    Holds,
    /// `!off && (…)`: a condition that leads to the refusal.
    Leads,
    /// `!off && let …`: a pattern that leads to the refusal.
    LeadsLet,
    /// `(if off { Ok(()) } else { … })`: a refusal where no value is wanted.
    Unit,
}

/// Finds every site of a file.
///
/// # Errors
/// If it is not Rust.
pub(crate) fn find(source: &str) -> Result<Vec<Site>, String> {
    let file = syn::parse_file(source).map_err(|error| error.to_string())?;
    let mut makers = Makers(BTreeSet::new());
    makers.visit_file(&file);
    let mut finder = Finder { source, makers: makers.0, frames: Vec::new(), sites: Vec::new() };
    finder.visit_file(&file);
    finder.sites.sort_by_key(|site| site.at);
    Ok(finder.sites)
}

/// Names of functions and local closures that give a `Refusal`.
struct Makers(BTreeSet<String>);

impl<'ast> Visit<'ast> for Makers {
    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if is_refusal(&signature.output) {
            self.0.insert(signature.ident.to_string());
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let Some((name, body)) = named_closure(local)
            && makes(body, &self.0)
        {
            self.0.insert(name);
        }
        visit::visit_local(self, local);
    }
}

/// What a site is inside of.
enum Frame {
    /// A function: its name, whether it gives `Result<(), Refusal>`, the filters met in it, and
    /// whether a value was missed in it.
    Function { name: String, unit: bool, filters: Vec<Range<usize>>, missed: bool },
    /// A closure that is not the detail of a refusal.
    Closure,
    /// The part of an `if` that runs when its condition holds.
    Then { condition: Range<usize>, pattern: bool },
    /// A match arm: its guard, and the guard of the arm before if that one ends well.
    Arm { guard: Option<Range<usize>>, before: Option<Range<usize>> },
    /// A block: the condition of the last `if` in it that ended well.
    Block { passed: Option<Range<usize>> },
}

struct Finder<'s> {
    source: &'s str,
    makers: BTreeSet<String>,
    frames: Vec<Frame>,
    sites: Vec<Site>,
}

impl Finder<'_> {
    fn inside(&mut self, frame: Frame, walk: impl FnOnce(&mut Self)) -> Option<Frame> {
        self.frames.push(frame);
        walk(self);
        self.frames.pop()
    }

    fn function(&mut self, signature: &syn::Signature, walk: impl FnOnce(&mut Self)) {
        if is_refusal(&signature.output) {
            return;
        }
        let output = self.source.get(signature.output.span().byte_range()).unwrap_or_default();
        let unit = output.contains("Result<(), Refusal>");
        let name = signature.ident.to_string();
        let frame = Frame::Function { name, unit, filters: Vec::new(), missed: false };
        self.frames.push(frame);
        walk(self);
        if let Some(Frame::Function { filters, missed: true, .. }) = self.frames.last_mut() {
            for range in std::mem::take(filters) {
                self.add(range.clone(), Some(Switch { range, form: Form::Holds }));
            }
        }
        self.frames.pop();
    }

    fn add(&mut self, shown: Range<usize>, switch: Option<Switch>) {
        let text = self.source.get(shown.clone()).unwrap_or_default();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let name = self.frames.iter().rev().find_map(|frame| match frame {
            Frame::Function { name, .. } => Some(name.clone()),
            _ => None,
        });
        let function = name.unwrap_or_default();
        self.sites.push(Site { function, text, at: shown.start, switch });
    }

    /// A refusal that is made here, by the nearest condition that leads to it.
    fn refusal(&mut self, refusal: Range<usize>, is_error: bool) {
        for frame in self.frames.iter().rev() {
            let (range, form) = match frame {
                Frame::Then { condition, pattern: false } => (condition, Form::Leads),
                Frame::Then { condition, pattern: true } => (condition, Form::LeadsLet),
                Frame::Arm { guard: Some(guard), .. } => (guard, Form::Leads),
                Frame::Arm { before: Some(before), .. } => (before, Form::Holds),
                Frame::Block { passed: Some(passed) } => (passed, Form::Holds),
                Frame::Function { unit: true, .. } if is_error => (&refusal, Form::Unit),
                Frame::Function { .. } | Frame::Closure => break,
                Frame::Arm { .. } | Frame::Block { .. } => continue,
            };
            let range = range.clone();
            return self.add(range.clone(), Some(Switch { range, form }));
        }
        self.missed(refusal);
    }

    /// A refusal in place of a value: nothing to go on with, but filters may stand before it.
    fn missed(&mut self, refusal: Range<usize>) {
        for frame in self.frames.iter_mut().rev() {
            if let Frame::Function { missed, .. } = frame {
                *missed = true;
                break;
            }
        }
        self.add(refusal, None);
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !for_tests(&item.attrs) {
            self.function(&item.sig, |finder| visit::visit_item_fn(finder, item));
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, |finder| visit::visit_impl_item_fn(finder, item));
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let maker = named_closure(local).is_some_and(|(name, _)| self.makers.contains(&name));
        if !maker {
            visit::visit_local(self, local);
        }
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.inside(Frame::Block { passed: None }, |finder| {
            for statement in &block.stmts {
                finder.visit_stmt(statement);
                if let (Some(condition), Some(Frame::Block { passed })) =
                    (ends_well(statement), finder.frames.last_mut())
                {
                    *passed = Some(condition);
                }
            }
        });
    }

    fn visit_expr_if(&mut self, expr: &'ast syn::ExprIf) {
        self.visit_expr(&expr.cond);
        let frame = Frame::Then {
            condition: expr.cond.span().byte_range(),
            pattern: matches!(*expr.cond, syn::Expr::Let(_)),
        };
        self.inside(frame, |finder| finder.visit_block(&expr.then_branch));
        if let Some((_, other)) = &expr.else_branch {
            self.visit_expr(other);
        }
    }

    fn visit_expr_match(&mut self, expr: &'ast syn::ExprMatch) {
        self.visit_expr(&expr.expr);
        let guards = expr
            .arms
            .iter()
            .map(|arm| arm.guard.as_ref().map(|(_, guard)| guard.span().byte_range()));
        let mut before = None;
        for (arm, guard) in expr.arms.iter().zip(guards) {
            let sites = self.sites.len();
            let frame = Frame::Arm { guard: guard.clone(), before };
            self.inside(frame, |finder| visit::visit_arm(finder, arm));
            // An arm that refuses by itself is no way past the next one.
            before = guard.filter(|_| self.sites.len() == sites);
        }
    }

    fn visit_expr_closure(&mut self, expr: &'ast syn::ExprClosure) {
        self.inside(Frame::Closure, |finder| visit::visit_expr_closure(finder, expr));
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.visit_expr(&call.receiver);
        for arg in &call.args {
            let chosen = call.method == "filter" || call.method == "find";
            let instead = call.method == "ok_or_else" || call.method == "map_err";
            match arg {
                arg if instead && makes(arg, &self.makers) => {
                    self.missed(arg.span().byte_range());
                }
                syn::Expr::Closure(closure) if chosen => {
                    let range = closure.body.span().byte_range();
                    let function = self.frames.iter_mut().rev();
                    for frame in function {
                        if let Frame::Function { filters, .. } = frame {
                            filters.push(range);
                            break;
                        }
                    }
                }
                arg => self.visit_expr(arg),
            }
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let range = call.span().byte_range();
        let function = last_name(&call.func);
        match (function.as_deref(), call.args.first()) {
            (Some("require"), Some(condition)) => {
                let range = condition.span().byte_range();
                self.add(range.clone(), Some(Switch { range, form: Form::Holds }));
            }
            (Some("Err"), Some(error)) if makes(error, &self.makers) => self.refusal(range, true),
            _ if is_made(call, &self.makers) => self.refusal(range, false),
            _ => visit::visit_expr_call(self, call),
        }
    }
}

fn is_refusal(output: &syn::ReturnType) -> bool {
    matches!(output, syn::ReturnType::Type(_, kind)
        if matches!(&**kind, syn::Type::Path(path) if path.path.is_ident("Refusal")))
}

fn for_tests(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| match &attr.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => attr.path().is_ident("test"),
    })
}

fn named_closure(local: &syn::Local) -> Option<(String, &syn::Expr)> {
    let (syn::Pat::Ident(name), Some(init)) = (&local.pat, &local.init) else { return None };
    match &*init.expr {
        syn::Expr::Closure(closure) => Some((name.ident.to_string(), &*closure.body)),
        _ => None,
    }
}

/// Whether an expression is a refusal, or a function or closure that gives one.
fn makes(expr: &syn::Expr, makers: &BTreeSet<String>) -> bool {
    match expr {
        syn::Expr::Call(call) => is_made(call, makers),
        syn::Expr::Closure(closure) => makes(&closure.body, makers),
        syn::Expr::Path(path) => {
            path.path.get_ident().is_some_and(|name| makers.contains(&name.to_string()))
        }
        syn::Expr::Block(block) => match block.block.stmts.last() {
            Some(syn::Stmt::Expr(last, None)) => makes(last, makers),
            _ => false,
        },
        _ => false,
    }
}

fn is_made(call: &syn::ExprCall, makers: &BTreeSet<String>) -> bool {
    let syn::Expr::Path(path) = &*call.func else { return false };
    let names: Vec<String> = path.path.segments.iter().map(|s| s.ident.to_string()).collect();
    match names.as_slice() {
        [.., kind, new] if kind == "Refusal" && new == "new" => true,
        [name] => makers.contains(name),
        _ => false,
    }
}

fn last_name(function: &syn::Expr) -> Option<String> {
    let syn::Expr::Path(path) = function else { return None };
    path.path.segments.last().map(|segment| segment.ident.to_string())
}

/// The condition of `if … { …; return Ok(…); }`: a refusal below it is for whoever did not leave.
fn ends_well(statement: &syn::Stmt) -> Option<Range<usize>> {
    let syn::Stmt::Expr(syn::Expr::If(branch), _) = statement else { return None };
    let Some(syn::Stmt::Expr(syn::Expr::Return(end), _)) = branch.then_branch.stmts.last() else {
        return None;
    };
    let Some(syn::Expr::Call(call)) = end.expr.as_deref() else { return None };
    let plain = branch.else_branch.is_none() && !matches!(*branch.cond, syn::Expr::Let(_));
    (plain && last_name(&call.func).as_deref() == Some("Ok"))
        .then(|| branch.cond.span().byte_range())
}
