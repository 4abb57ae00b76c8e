// The official client for JavaScript.

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { apiKey, baseURL, image, model, prompt, retries, run } from "./cases.mjs";

const client = new OpenAI({ baseURL, apiKey, maxRetries: retries });
const messages = [{ role: "user", content: prompt }];
const Person = z.object({ name: z.string(), age: z.number() });

await run({
  async chat(saw) {
    const { choices, usage } = await client.chat.completions.create({ model, messages });
    saw.text = choices[0].message.content;
    saw.tokens = [usage.prompt_tokens, usage.completion_tokens];
  },

  async stream(saw) {
    saw.pieces = [];
    const options = { stream: true, stream_options: { include_usage: true } };
    const chunks = await client.chat.completions.create({ model, messages, ...options });
    for await (const { choices, usage } of chunks) {
      if (choices[0]?.delta.content) saw.pieces.push(choices[0].delta.content);
      if (usage) saw.tokens = [usage.prompt_tokens, usage.completion_tokens];
    }
  },

  async structured(saw) {
    const response_format = zodResponseFormat(Person, "person");
    const { choices } = await client.chat.completions.parse({ model, messages, response_format });
    saw.object = choices[0].message.parsed;
  },

  async image(saw) {
    const parts = [
      { type: "text", text: prompt },
      { type: "image_url", image_url: { url: image } },
    ];
    const { choices } = await client.chat.completions.create({
      model,
      messages: [{ role: "user", content: parts }],
    });
    saw.text = choices[0].message.content;
  },

  async completion(saw) {
    const { choices, usage } = await client.completions.create({ model, prompt });
    saw.text = choices[0].text;
    saw.tokens = [usage.prompt_tokens, usage.completion_tokens];
  },
});
