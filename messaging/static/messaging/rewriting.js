// Blocks written anew as Markdown: what Markdown has no words for (columns, colours) is left behind.

const line = (block) => {
  const link = (text, url) => (url ? `[${text}](${url})` : text);
  switch (block.kind) {
    case "heading": return `${"#".repeat(Number(block.level ?? 1))} ${block.text ?? ""}`;
    case "text": return block.text ?? "";
    case "picture": return link(`![${block.alt ?? ""}](${block.url ?? ""})`, block.link);
    case "button": return link(block.text ?? "", block.link);
    case "product": return [block.picture ? `![${block.alt ?? ""}](${block.picture})` : "", `### ${block.name ?? ""}`, block.text, block.price ? `**${block.price}**` : "", block.link ? link(block.label || block.name, block.link) : ""].filter(Boolean).join("\n\n");
    case "social": return (block.links ?? []).map((one) => link(one.name, one.url)).join(" · ");
    case "divider": return "---";
    case "columns": return (block.columns ?? []).flat().map(shown).filter(Boolean).join("\n\n");
    default: return "";
  }
};

const shown = (block) => (block.show_if && line(block) ? `{% if ${block.show_if} %}\n\n${line(block)}\n\n{% endif %}` : line(block));

export function toMarkdown(body) {
  try {
    return `${JSON.parse(body).map(shown).filter(Boolean).join("\n\n")}\n`;
  } catch {
    return body;
  }
}
