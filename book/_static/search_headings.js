// Headings are hits of their own, first in the list, if they have all the words of a query.
// Sphinx's search shows a heading only where the query is at least half as long, and as it stands there.
{
  const search = Search._performSearch;
  Search._performSearch = (query, ...terms) => {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const { alltitles, docnames, filenames, titles } = Search._index;
    const headings = [];
    for (const [title, places] of Object.entries(words.length ? alltitles : {}))
      if (words.every((word) => title.toLowerCase().includes(word)))
        for (const [page, anchor] of places)
          if (anchor !== null)
            headings.push([docnames[page], `${titles[page]} > ${title}`, `#${anchor}`, null, 100, filenames[page]]);
    const rest = search(query, ...terms).filter(
      ([page, , anchor]) => !headings.some((hit) => hit[0] === page && hit[2] === anchor),
    );
    return [...rest, ...headings.reverse()]; // the best hit comes last
  };
}
