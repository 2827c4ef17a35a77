/** What can go wrong with a template: the caller says where it came from. */

/** The template is not valid Jinja. */
export class TemplateSyntaxError extends Error {}

/** Rendering fails, as it does in jinja2: `raise_exception`, an operation on undefined, a wrong type. */
export class TemplateFailure extends Error {}

/** A construct whose jinja2 result is not computed here, so that the template is refused by its name. */
export class UnsupportedConstruct extends Error {
  constructor(readonly construct: string) {
    super(`${construct} is not supported`);
  }
}

/** Rendering takes more steps or memory than any chat needs. */
export class BudgetExceeded extends Error {}
