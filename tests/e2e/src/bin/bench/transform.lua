-- What a user of Envoy's Lua filter would write to set three members: LuaJIT brings no JSON of its own.
local json = {}

local escapes = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function skip(text, at)
  return text:find("[^ \t\r\n]", at) or #text + 1
end

local function read_string(text, at)
  local stop = text:find('["\\]', at + 1)
  if text:sub(stop, stop) == '"' then
    return text:sub(at + 1, stop - 1), stop + 1
  end
  local parts, from = {}, at + 1
  while true do
    parts[#parts + 1] = text:sub(from, stop - 1)
    if text:sub(stop, stop) == '"' then
      return table.concat(parts), stop + 1
    end
    parts[#parts + 1] = escapes[text:sub(stop + 1, stop + 1)] or "?"
    from = stop + 2
    stop = text:find('["\\]', from)
  end
end

function json.read(text, at)
  at = skip(text, at)
  local first = text:sub(at, at)
  if first == "{" then
    local object = {}
    at = skip(text, at + 1)
    while text:sub(at, at) ~= "}" do
      local name
      name, at = read_string(text, at)
      object[name], at = json.read(text, skip(text, at) + 1)
      at = skip(text, at)
      if text:sub(at, at) == "," then at = skip(text, at + 1) end
    end
    return object, at + 1
  elseif first == "[" then
    local array = { n = 0 }
    at = skip(text, at + 1)
    while text:sub(at, at) ~= "]" do
      array.n = array.n + 1
      array[array.n], at = json.read(text, at)
      at = skip(text, at)
      if text:sub(at, at) == "," then at = skip(text, at + 1) end
    end
    return array, at + 1
  elseif first == '"' then
    return read_string(text, at)
  end
  local stop = text:find("[,%]} \t\r\n]", at) or #text + 1
  local word = text:sub(at, stop - 1)
  if word == "true" then return true, stop end
  if word == "false" then return false, stop end
  if word == "null" then return json, stop end
  return tonumber(word), stop
end

local function write(value, parts)
  if value == json then
    parts[#parts + 1] = "null"
  elseif type(value) == "string" then
    parts[#parts + 1] = string.format("%q", value)
  elseif type(value) ~= "table" then
    parts[#parts + 1] = tostring(value)
  elseif value.n then
    parts[#parts + 1] = "["
    for place = 1, value.n do
      if place > 1 then parts[#parts + 1] = "," end
      write(value[place], parts)
    end
    parts[#parts + 1] = "]"
  else
    parts[#parts + 1] = "{"
    local separator = '"'
    for name, own in pairs(value) do
      parts[#parts + 1] = separator .. name .. '":'
      separator = ',"'
      write(own, parts)
    end
    parts[#parts + 1] = "}"
  end
end

function envoy_on_response(handle)
  local body = handle:body()
  local document = json.read(body:getBytes(0, body:length()), 1)
  document.tenant, document.region, document.version = "t-1", "eu-west", "2"
  local parts = {}
  write(document, parts)
  local text = table.concat(parts)
  body:setBytes(text)
  handle:headers():replace("content-length", tostring(#text))
end
